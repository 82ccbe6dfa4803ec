<?php

$config = [
    'people' => [
        'exampleauth:UserPass',
        'alice:' . getenv('PASSWORD') => ['uid' => ['alice'], 'groups' => ['sales', 'everybody']],
    ],
];
