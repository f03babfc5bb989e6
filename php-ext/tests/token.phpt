--TEST--
Tokens say what they were asked to say, and connections are ended by user and channel
--EXTENSIONS--
push
--INI--
push.socket={TMP}/push-phpt-token/hub.sock
--SKIPIF--
<?php
require __DIR__ . '/hub.inc';
skip_without_hub();
?>
--FILE--
<?php
require __DIR__ . '/hub.inc';
start_hub();

function claims(string $token): array
{
    [$header, $claims, $signature] = explode('.', $token);
    $decode = fn(string $part) => base64_decode(strtr($part, '-_', '+/'), true);
    echo $decode($header), ' ', strlen($decode($signature)), "\n";
    return json_decode($decode($claims), true);
}

function say(array $claims): void
{
    echo json_encode(['life' => $claims['exp'] - (int) $claims['iat'], 'fresh' => abs(time() - $claims['iat']) < 5]
        + array_diff_key($claims, ['exp' => 0, 'iat' => 0])), "\n";
}

say(claims(push_token('lobby')));
say(claims(push_token(['lobby', 'news.*', '*'], 7)));
say(claims(push_token('lobby', user: 'ann', ttl: 60, info: ['nick' => 'Ann', 'tags' => ['a']], publish: true)));
// A JSON object, and a list for PHP again.
say(claims(push_token('lobby', 7, 2592000, ['a', 'b'])));
// PHP's own conversions.
say(claims(push_token(12, '7', '30')));

try {
    push_token('lobby', 7, info: ['x' => str_repeat('y', 2041)]);
} catch (ValueError $e) {
    echo $e->getMessage(), "\n";
}

var_dump(push_disconnect(7));
var_dump(push_disconnect(channel: 'lobby'));
var_dump(push_disconnect('7', 'lobby', 'gebührt', revoke: true));
?>
--EXPECT--
{"typ":"JWT","alg":"HS256"} 32
{"life":3600,"fresh":true,"channels":["lobby"]}
{"typ":"JWT","alg":"HS256"} 32
{"life":3600,"fresh":true,"sub":"7","channels":["lobby","news.*","*"]}
{"typ":"JWT","alg":"HS256"} 32
{"life":60,"fresh":true,"sub":"ann","channels":["lobby"],"info":{"nick":"Ann","tags":["a"]},"publish":true}
{"typ":"JWT","alg":"HS256"} 32
{"life":2592000,"fresh":true,"sub":"7","channels":["lobby"],"info":["a","b"]}
{"typ":"JWT","alg":"HS256"} 32
{"life":30,"fresh":true,"sub":"7","channels":["12"]}
info has 2049 bytes as JSON, allowed are 2048
int(0)
int(0)
int(0)
