"""intake: the one door.

Owns: persons, contacts and person_ref, the catalogue as published, submission, the case number, the citizen's
view of a case and its timeline.
Hears: materials, approval, notify (for the view and the timeline).
Says: CaseSubmitted, MaterialsSupplied.
"""
