"""notify: everyone is told, once.

Owns: templates, deliveries and their receipts, the in-app inbox.
Hears: intake, approval, materials.
Says: NoticeSent.
"""
