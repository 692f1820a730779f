"""Reads INBOX with imaplib: imap_read.py HOST PORT implicit|starttls|off CA FOLDER; the login is in NAME and PASSWORD.

Writes each message to FOLDER/1, FOLDER/2, … as it came. A refused login ends with status 3 and the server's words.
"""

import imaplib
import os
import ssl
import sys

SECONDS = 20

host, port, tls, ca, folder = sys.argv[1:]
name, password = os.environ["NAME"], os.environ["PASSWORD"]
context = ssl.create_default_context(cafile=ca)
if tls == "implicit":
    server = imaplib.IMAP4_SSL(host, int(port), ssl_context=context, timeout=SECONDS)
else:
    server = imaplib.IMAP4(host, int(port), timeout=SECONDS)
    if tls == "starttls":
        server.starttls(context)
try:
    if password.isascii():
        server.login(name, password)
    else:  # imaplib sends LOGIN in ASCII only
        server.authenticate("PLAIN", lambda _: f"\0{name}\0{password}".encode())
except imaplib.IMAP4.error as refusal:
    print(refusal)
    sys.exit(3)
_, counted = server.select("INBOX", readonly=True)
for number in range(1, int(counted[0]) + 1):
    _, parts = server.fetch(str(number), "(BODY.PEEK[])")
    with open(os.path.join(folder, str(number)), "wb") as file:
        file.write(parts[0][1])
server.logout()
