//! The names the demo draws from: common Italian ones, towns, subjects, everyday remarks.

pub(super) const GIVEN_NAMES: [&str; 40] = [
    "Alessandro", "Alice", "Andrea", "Anna", "Aurora", "Beatrice", "Camilla", "Caterina",
    "Chiara", "Davide", "Diego", "Edoardo", "Elena", "Emma", "Federico", "Filippo", "Francesca",
    "Gabriele", "Giada", "Giorgia", "Giulia", "Greta", "Jacopo", "Leonardo", "Lorenzo", "Luca",
    "Marco", "Margherita", "Martina", "Matteo", "Mattia", "Niccolò", "Noemi", "Pietro",
    "Riccardo", "Sara", "Sofia", "Tommaso", "Viola", "Zoë",
];

pub(super) const FAMILY_NAMES: [&str; 50] = [
    "Amato", "Barbieri", "Basile", "Bellini", "Benedetti", "Bianchi", "Bruno", "Caruso",
    "Cattaneo", "Colombo", "Conti", "Coppola", "Costa", "D'Amico", "D'Angelo", "De Angelis",
    "De Luca", "De Santis", "Dell'Orto", "Di Stefano", "Donati", "Esposito", "Fabbri", "Farina",
    "Ferrari", "Fiore", "Fontana", "Galli", "Gatti", "Gentile", "Giordano", "Greco", "Grassi",
    "Leone", "Lombardi", "Mancini", "Marchetti", "Mariani", "Martini", "Moretti", "Nicolò",
    "Palumbo", "Pellegrini", "Rinaldi", "Rizzo", "Romano", "Russo", "Sanna", "Vitale", "Zanetti",
];

/// Abbreviation of the province and a town in it.
pub(super) const PLACES: [(&str, &str); 32] = [
    ("AN", "Senigallia"), ("AO", "Aosta"), ("AQ", "L'Aquila"), ("BA", "Monopoli"),
    ("BG", "Treviglio"), ("BO", "Imola"), ("BS", "Desenzano del Garda"), ("BZ", "Merano"),
    ("CA", "Quartu Sant'Elena"), ("CT", "Acireale"), ("FC", "Cesena"), ("FE", "Cento"),
    ("FI", "Empoli"), ("GE", "Chiavari"), ("LE", "Gallipoli"), ("MI", "Legnano"),
    ("MO", "Carpi"), ("NA", "Pozzuoli"), ("PA", "Cefalù"), ("PD", "Cittadella"),
    ("PG", "Foligno"), ("PR", "Fidenza"), ("PZ", "Melfi"), ("RA", "Faenza"), ("RC", "Locri"),
    ("RM", "Tivoli"), ("SA", "Battipaglia"), ("TN", "Rovereto"), ("TO", "Chieri"),
    ("TS", "Muggia"), ("VE", "Chioggia"), ("VR", "Villafranca di Verona"),
];

/// After whom schools are called.
pub(super) const HONOUREES: [&str; 28] = [
    "Alessandro Manzoni", "Alessandro Volta", "Antonio Gramsci", "Carlo Goldoni",
    "Dante Alighieri", "Don Lorenzo Milani", "Edmondo De Amicis", "Elsa Morante",
    "Enrico Fermi", "Galileo Galilei", "Gianni Rodari", "Giacomo Leopardi", "Giosuè Carducci",
    "Giovanni Pascoli", "Giuseppe Verdi", "Grazia Deledda", "Guglielmo Marconi",
    "Italo Calvino", "Leonardo da Vinci", "Ludovico Ariosto", "Margherita Hack",
    "Maria Montessori", "Michelangelo Buonarroti", "Primo Levi", "Rita Levi-Montalcini",
    "Salvo D'Acquisto", "Sandro Pertini", "Torquato Tasso",
];

pub(super) const SUBJECTS: [(&str, &str); 14] = [
    ("ART", "Arte e immagine"),
    ("CIV", "Educazione civica"),
    ("FIS", "Fisica"),
    ("FRA", "Francese"),
    ("GEO", "Geografia"),
    ("ING", "Inglese"),
    ("ITA", "Italiano"),
    ("LAT", "Latino"),
    ("MAT", "Matematica"),
    ("MOT", "Scienze motorie"),
    ("MUS", "Musica"),
    ("SCI", "Scienze"),
    ("STO", "Storia"),
    ("TEC", "Tecnologia"),
];

pub(super) const REMARKS: [&str; 20] = [
    "Ha dimenticato il materiale.",
    "Interrogazione programmata sul capitolo 4.",
    "Partecipa con interesse e aiuta i compagni.",
    "Consegnare il modulo firmato entro venerdì.",
    "Uscita didattica al museo civico: portare il pranzo al sacco.",
    "Verifica rimandata per assemblea d'istituto.",
    "Da recuperare l'unità sulle frazioni.",
    "Ottima esposizione, lessico preciso.",
    "Compiti non svolti.",
    "Colloquio richiesto dalla famiglia.",
    "Ha letto in classe il tema sull'autunno.",
    "Lavoro di gruppo: «L'acqua e la città».",
    "Prova orale sufficiente; rivedere il passato remoto.",
    "Entra alle 9:00 per visita medica.",
    "Esce alle 12:10 accompagnato dal nonno.",
    "Molti progressi rispetto a settembre.",
    "Si distrae facilmente, ma recupera bene.",
    "Laboratorio di scienze: relazione da consegnare.",
    "Prove generali del coro in aula magna.",
    "Perché non chiede aiuto quando serve?",
];
