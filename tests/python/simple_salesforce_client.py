"""simple-salesforce of PyPI, unmodified. It knows hosts beneath salesforce.com alone, so it is given a proxy, as in an
office: each CONNECT leads to the gate, which shows a certificate for the name that was asked for."""

import os
import socket
import threading
import unittest

import requests
from simple_salesforce import Salesforce, SalesforceLogin
from simple_salesforce.exceptions import SalesforceAuthenticationFailed, SalesforceExpiredSession

GATE = ("127.0.0.1", int(os.environ["PORT"]))
DOMAIN = "acme.my"
HOST = "acme.my.salesforce.com"


def pump(source, sink):
    try:
        while part := source.recv(65536):
            sink.sendall(part)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def serve(listener):
    while True:
        client, _ = listener.accept()
        asked = b""
        while b"\r\n\r\n" not in asked:
            part = client.recv(4096)
            if not part:
                break
            asked += part
        if not asked.startswith(b"CONNECT " + HOST.encode() + b":443 "):
            client.close()
            continue
        gate = socket.create_connection(GATE)
        client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        for pair in ((client, gate), (gate, client)):
            threading.Thread(target=pump, args=pair, daemon=True).start()


def session():
    made = requests.Session()
    made.trust_env = False
    made.proxies = {"https": PROXY}
    made.verify = os.environ["CA"]
    return made


LISTENER = socket.create_server(("127.0.0.1", 0))
PROXY = f"http://127.0.0.1:{LISTENER.getsockname()[1]}"
threading.Thread(target=serve, args=(LISTENER,), daemon=True).start()


class Flows(unittest.TestCase):
    def query(self, salesforce):
        return salesforce.query("SELECT Id FROM Order")["headers"]["x-forwarded-user"]

    def test_s36_s37_jwt(self):
        for _ in range(2):
            # Two in one second are one assertion, so the clock is given time.
            salesforce = Salesforce(
                username="alice", consumer_key="signer", privatekey_file=os.environ["KEY"], domain=DOMAIN, session=session()
            )
            self.assertEqual(salesforce.sf_instance, HOST)
            self.assertEqual(self.query(salesforce), "alice")
            threading.Event().wait(1.1)

    def test_expired_session_comes_back_by_itself(self):
        salesforce = Salesforce(username="alice", password=os.environ["PASSWORD"], security_token="", domain=DOMAIN, session=session())
        self.assertEqual(self.query(salesforce), "alice")
        before = salesforce.session_id
        ended = session().post(f"https://{HOST}/services/oauth2/revoke", {"token": before})
        self.assertEqual((ended.status_code, ended.text), (200, ""))
        self.assertEqual(self.query(salesforce), "alice")
        self.assertNotEqual(salesforce.session_id, before)

    def test_client_credentials(self):
        salesforce = Salesforce(
            consumer_key="console", consumer_secret=os.environ["SECRET"], domain=DOMAIN, session=session()
        )
        self.assertEqual(self.query(salesforce), "alice")

    def test_s59_soap_with_a_security_token(self):
        token = os.environ["SECURITY_TOKEN"]
        salesforce = Salesforce(
            username="bob", password=os.environ["PASSWORD"], security_token=token, domain=DOMAIN, session=session()
        )
        self.assertEqual(self.query(salesforce), "bob")
        for wrong in ("", "x" * len(token)):
            with self.assertRaises(SalesforceAuthenticationFailed) as refused:
                SalesforceLogin(
                    username="bob", password=os.environ["PASSWORD"], security_token=wrong, domain=DOMAIN, session=session()
                )
            self.assertEqual(refused.exception.code, "INVALID_LOGIN")

    def test_username_password(self):
        salesforce = Salesforce(
            username="alice",
            password=os.environ["PASSWORD"],
            consumer_key="console",
            consumer_secret=os.environ["SECRET"],
            domain=DOMAIN,
            session=session(),
        )
        self.assertEqual(self.query(salesforce), "alice")

    def test_a_session_that_was_given_is_refused_in_its_words(self):
        salesforce = Salesforce(instance=HOST, session_id="nonsense", session=session())
        with self.assertRaises(SalesforceExpiredSession) as refused:
            self.query(salesforce)
        self.assertEqual(refused.exception.content[0]["errorCode"], "INVALID_SESSION_ID")


if __name__ == "__main__":
    unittest.main()
