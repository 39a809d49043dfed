"""materials: data runs so that people need not.

Owns: certificates (held by person_ref), consent as grants and their end, every use of a certificate, match
outcomes, uploads, issuing.
Hears: intake, approval.
Says: MaterialsMatched, CertificateIssued.
"""
