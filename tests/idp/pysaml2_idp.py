"""An identity provider that nobody here wrote: pysaml2, behind the few lines of HTTP that it leaves to its user.

pysaml2_idp.py metadata FOLDER PORT   prints the IdP's metadata
pysaml2_idp.py serve FOLDER PORT      serves; FOLDER holds idp.key, idp.pem, and the service provider's metadata in sp.xml
"""
import html
import os
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlsplit

from saml2 import BINDING_HTTP_POST, BINDING_HTTP_REDIRECT
from saml2.authn_context import PASSWORDPROTECTEDTRANSPORT
from saml2.config import IdPConfig
from saml2.metadata import entity_descriptor
from saml2.saml import NAMEID_FORMAT_UNSPECIFIED, NameID
from saml2.server import Server
from saml2.xmldsig import DIGEST_SHA256, SIG_RSA_SHA256

MODE, FOLDER, PORT = sys.argv[1], sys.argv[2], int(sys.argv[3])
BASE = f"http://127.0.0.1:{PORT}"
WHO = {"uid": ["alice"], "mail": ["alice@corp.example"], "groups": ["sales", "everybody"]}


def config():
    """What pysaml2 is told."""
    known = os.path.join(FOLDER, "sp.xml")
    settings = {
        "entityid": f"{BASE}/idp",
        "key_file": os.path.join(FOLDER, "idp.key"),
        "cert_file": os.path.join(FOLDER, "idp.pem"),
        "service": {
            "idp": {
                "endpoints": {
                    "single_sign_on_service": [
                        (f"{BASE}/sso/redirect", BINDING_HTTP_REDIRECT),
                        (f"{BASE}/sso/post", BINDING_HTTP_POST),
                    ],
                    "single_logout_service": [(f"{BASE}/slo", BINDING_HTTP_REDIRECT)],
                },
                "want_authn_requests_signed": True,
                "policy": {"default": {"lifetime": {"minutes": 5}}},
            }
        },
    }
    if os.path.exists(known):
        settings["metadata"] = {"local": [known]}
    return IdPConfig().load(settings)


def form(action, fields):
    """A form that sends itself."""
    inputs = "".join(f'<input type="hidden" name="{n}" value="{html.escape(v)}">' for n, v in fields.items() if v)
    return f'<form method="post" action="{html.escape(action)}">{inputs}<button>Go on</button></form><script>document.forms[0].submit()</script>'


class Idp(BaseHTTPRequestHandler):
    """Everybody who comes is alice."""

    def answer(self, fields, binding):
        asked = SERVER.parse_authn_request(
            fields["SAMLRequest"],
            binding,
            relay_state=fields.get("RelayState"),
            sigalg=fields.get("SigAlg"),
            signature=fields.get("Signature"),
        )
        parts = SERVER.response_args(asked.message, [BINDING_HTTP_POST])
        response = SERVER.create_authn_response(
            identity=WHO,
            userid="alice",
            name_id=NameID(format=NAMEID_FORMAT_UNSPECIFIED, text="alice"),
            authn={"class_ref": PASSWORDPROTECTEDTRANSPORT, "authn_auth": BASE},
            sign_assertion=SIGNS in ("assertion", "both"),
            sign_response=SIGNS in ("response", "both"),
            sign_alg=SIG_RSA_SHA256,
            digest_alg=DIGEST_SHA256,
            in_response_to=parts["in_response_to"],
            destination=parts["destination"],
            sp_entity_id=parts["sp_entity_id"],
        )
        sent = SERVER.apply_binding(
            BINDING_HTTP_POST, str(response), parts["destination"], fields.get("RelayState", ""), response=True
        )
        self.show(sent["data"] if isinstance(sent["data"], str) else "".join(sent["data"]))

    def show(self, page):
        body = page.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        parts = urlsplit(self.path)
        fields = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if parts.path == "/sso/redirect":
            self.answer(fields, BINDING_HTTP_REDIRECT)
        else:
            self.show("An IdP.")

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        fields = {name: values[0] for name, values in parse_qs(body).items()}
        self.answer(fields, BINDING_HTTP_POST)

    def log_message(self, *_):
        pass


if MODE == "metadata":
    print(entity_descriptor(config()))
else:
    SIGNS = os.environ.get("SIGNS", "assertion")
    SERVER = Server(config=config())
    HTTPServer(("127.0.0.1", PORT), Idp).serve_forever()
