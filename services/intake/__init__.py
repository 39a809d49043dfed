"""intake: the one door.

Owns: persons, contacts and person_ref, the catalogue as published, submission, the case number, the citizen's
view of a case and its timeline.
Hears: every fact that people see (for the view and the timeline); each says itself how it reads and what it
changes.
Says: CaseSubmitted, MaterialsSupplied, ConsentGiven.
"""
