"""approval: the law's clock and the officer's desk.

Owns: the state of a case, due dates and the calendar, tasks and queues, decisions and their reasons.
Hears: intake, materials.
Says: CorrectionRequired, CaseAccepted, CaseRouted, TaskClaimed, TaskReleased, StepPassed, CaseDecided,
CaseClosed.
"""
