<?php

$signs = getenv('SIGNS');
$metadata[getenv('ISSUER')] = [
    'AssertionConsumerService' => getenv('ISSUER') . '/oauth2/saml/acs',
    'SingleLogoutService' => getenv('ISSUER') . '/oauth2/saml/logout',
    'certificate' => 'sp.pem',
    'validate.authnrequest' => true,
    'signature.algorithm' => 'http://www.w3.org/2001/04/xmldsig-more#rsa-sha256',
    'saml20.sign.response' => $signs !== 'assertion',
    'saml20.sign.assertion' => $signs !== 'response',
];
