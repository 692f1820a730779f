"""Reads a mailbox with poplib: pop3_read.py HOST PORT implicit|starttls|off CA FOLDER; the login is in NAME and PASSWORD.

Writes each message to FOLDER/1, FOLDER/2, … as it came. A refused login ends with status 3 and the server's words.
"""

import os
import poplib
import ssl
import sys

SECONDS = 20
poplib._MAXLINE = 1 << 20  # it takes lines of 2048 octets only

host, port, tls, ca, folder = sys.argv[1:]
name, password = os.environ["NAME"], os.environ["PASSWORD"]
context = ssl.create_default_context(cafile=ca)
if tls == "implicit":
    server = poplib.POP3_SSL(host, int(port), context=context, timeout=SECONDS)
else:
    server = poplib.POP3(host, int(port), timeout=SECONDS)
    if tls == "starttls":
        server.stls(context)
try:
    server.user(name)
    server.pass_(password)
except poplib.error_proto as refusal:
    print(refusal)
    sys.exit(3)
count, _ = server.stat()
for number in range(1, count + 1):
    _, lines, _ = server.retr(number)
    with open(os.path.join(folder, str(number)), "wb") as file:
        file.write(b"".join(line + b"\r\n" for line in lines))
server.quit()
