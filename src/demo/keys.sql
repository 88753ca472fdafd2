ALTER TABLE registro.teachers ADD FOREIGN KEY (school_code) REFERENCES registro.schools;
ALTER TABLE registro.classes ADD FOREIGN KEY (school_code) REFERENCES registro.schools,
  ADD FOREIGN KEY (tutor_id) REFERENCES registro.teachers;
ALTER TABLE registro.pupils ADD FOREIGN KEY (school_code) REFERENCES registro.schools;
ALTER TABLE registro.enrolments ADD FOREIGN KEY (school_code) REFERENCES registro.schools,
  ADD FOREIGN KEY (pupil_id) REFERENCES registro.pupils,
  ADD FOREIGN KEY (class_id) REFERENCES registro.classes;
ALTER TABLE registro.marks ADD FOREIGN KEY (school_code) REFERENCES registro.schools,
  ADD FOREIGN KEY (pupil_id) REFERENCES registro.pupils,
  ADD FOREIGN KEY (teacher_id) REFERENCES registro.teachers,
  ADD FOREIGN KEY (subject_code) REFERENCES registro.subjects;
ALTER TABLE registro.absences ADD FOREIGN KEY (school_code) REFERENCES registro.schools,
  ADD FOREIGN KEY (pupil_id) REFERENCES registro.pupils;
ALTER TABLE registro.notes ADD FOREIGN KEY (school_code) REFERENCES registro.schools,
  ADD FOREIGN KEY (class_id) REFERENCES registro.classes,
  ADD FOREIGN KEY (teacher_id) REFERENCES registro.teachers;
ALTER TABLE registro.documents ADD FOREIGN KEY (school_code) REFERENCES registro.schools;
ALTER TABLE registro.sessions ADD FOREIGN KEY (school_code) REFERENCES registro.schools;
ALTER TABLE registro.demo_writes ADD FOREIGN KEY (school_code) REFERENCES registro.schools,
  ADD FOREIGN KEY (mark_id) REFERENCES registro.marks,
  ADD FOREIGN KEY (absence_id) REFERENCES registro.absences;
CREATE INDEX ON registro.pupils (school_code, family_name, given_name);
CREATE INDEX ON registro.pupils USING gin (contacts);
CREATE INDEX ON registro.enrolments (class_id);
CREATE INDEX ON registro.marks (pupil_id, given_on);
CREATE INDEX ON registro.marks (school_code, given_on);
CREATE INDEX ON registro.absences (pupil_id, on_day);
CREATE INDEX ON registro.absences (school_code, on_day) WHERE NOT justified;
CREATE INDEX ON registro.notes (class_id, at);
CREATE INDEX ON registro.sessions (seen_at);
