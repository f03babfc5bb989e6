<?php
// argv: push.ffi.h, the socket of a hub.
[, $header, $socket] = $argv;
$push = FFI::load($header);

function text(FFI $push, string $string): FFI\CData
{
    $text = $push->new('push_text');
    $bytes = $push->new('char[' . max(strlen($string), 1) . ']', false);
    FFI::memcpy($bytes, $string, strlen($string));
    $text->data = FFI::cast('char *', FFI::addr($bytes));
    $text->len = strlen($string);
    return $text;
}

function check(FFI $push, int $status): void
{
    if ($status !== $push->PUSH_OK) {
        throw new RuntimeException($push->push_last_error());
    }
}

$config = $push->push_config_new();
check($push, $push->push_config_set($config, 'socket', $socket));
check($push, $push->push_config_set($config, 'timeout', '5s'));
$client = $push->new('push_client *');
check($push, $push->push_client_open($config, FFI::addr($client)));
$push->push_config_free($config);

$text = text($push, 'hello from FFI');
$payload = $push->new('push_bytes');
$payload->data = FFI::cast('void *', $text->data);
$payload->len = $text->len;
$published = $push->new('push_published');
check($push, $push->push_publish($client, text($push, 'ffi'), $payload, null, FFI::addr($published)));

$page = $push->new('push_message_list *');
check($push, $push->push_history($client, text($push, 'ffi'), $push->PUSH_POSITION_START, 1, FFI::addr($page)));
$read = $push->push_message_payload($push->push_message_list_borrow($page, 0));
echo "published {$published->id}, read back: ", FFI::string(FFI::cast('char *', $read->data), $read->len);
$push->push_message_list_free($page);

$payload->data = null;
$status = $push->push_publish($client, text($push, 'ffi'), $payload, null, null);
echo ', payload NULL: ', $status === $push->PUSH_NULL_ARGUMENT ? $push->push_last_error() : $status, "\n";
$push->push_client_free($client);
