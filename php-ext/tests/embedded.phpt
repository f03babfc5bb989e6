--TEST--
A PHP that is its own push server
--EXTENSIONS--
push
--INI--
push.mode=embedded
push.listen=127.0.0.1:0
--FILE--
<?php
$address = push_hub_address();
var_dump(preg_match('~^127\.0\.0\.1:[1-9]\d+$~', $address), $address === push_hub_address());
$channel = push_create_channel(name: 'news');
$subscriber = stream_socket_client("tcp://$address");
stream_set_timeout($subscriber, 15);
fwrite($subscriber, "GET /sub/news HTTP/1.1\r\nHost: test\r\nAccept: application/json\r\n\r\n");
while (!push_channel_info($channel)->subscribers) {
    usleep(1000);
}
var_dump(push_publish($channel, ['text' => 'Hello'])->subscribers);
while (($line = fgets($subscriber)) !== "\r\n") {
    if (preg_match('~^HTTP|^Content-Length: (\d+)~', $line, $match)) {
        echo isset($match[1]) ? '' : $line;
        $length = (int) ($match[1] ?? 0);
    }
}
var_dump(json_decode(fread($subscriber, $length))->messages[0]->data->text);
push_publish_async($channel, 'again');
var_dump(push_publish_many([new Push\Message($channel, 'third')])[0]->id);
['pid' => $pid, 'socket' => $socket] = push_status();
var_dump($pid === getmypid(), $socket, push_ping());
?>
--EXPECT--
int(1)
bool(true)
int(1)
HTTP/1.1 200 OK
string(5) "Hello"
int(3)
bool(true)
string(0) ""
bool(true)
