<?php

// SimpleSAMLphp as the tests run it: an identity provider with one person, which writes nowhere but beside this file.
$config = [
    'baseurlpath' => 'http://127.0.0.1:' . getenv('PORT') . '/',
    'certdir' => __DIR__ . '/',
    'loggingdir' => __DIR__ . '/',
    'datadir' => __DIR__ . '/',
    'tempdir' => __DIR__ . '/',
    'metadatadir' => __DIR__ . '/metadata/',
    'metadata.sources' => [['type' => 'flatfile']],
    'technicalcontact_email' => 'idp@corp.example',
    'secretsalt' => hash('sha256', __DIR__),
    'auth.adminpassword' => bin2hex(random_bytes(16)),
    'timezone' => 'UTC',
    'logging.handler' => 'file',
    'debug' => ['saml' => false, 'backtraces' => true, 'validatexml' => false],
    'enable.saml20-idp' => true,
    'module.enable' => ['exampleauth' => true, 'core' => true, 'saml' => true],
    'store.type' => 'phpsession',
    'session.phpsession.savepath' => __DIR__ . '/',
    // It speaks plain HTTP on a loopback address.
    'session.cookie.secure' => false,
    'session.cookie.samesite' => null,
];
