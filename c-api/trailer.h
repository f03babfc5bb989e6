
/** A text of a C string; NULL is the empty text. */
static inline push_text push_str(const char *string) {
    push_text text;
    text.data = string;
    text.len = 0;
    if (string != NULL) {
        while (string[text.len] != '\0') {
            text.len++;
        }
    }
    return text;
}

/** Bytes of a pointer and a length. */
static inline push_bytes push_data(const void *data, size_t len) {
    push_bytes bytes;
    bytes.data = data;
    bytes.len = len;
    return bytes;
}

/** The bytes of a C string, without its NUL. */
static inline push_bytes push_str_data(const char *string) {
    push_text text = push_str(string);
    return push_data(text.data, text.len);
}

/** Makes everything the default. */
static inline void push_publish_options_init(push_publish_options *options) {
    options->size = sizeof *options;
    options->event = options->event_id = options->dedupe = push_str(NULL);
    options->ttl = options->flags = 0;
}

/** Makes everything the default. */
static inline void push_channel_options_init(push_channel_options *options) {
    options->size = sizeof *options;
    options->owner = push_str(NULL);
    options->ttl = options->max_messages = options->message_ttl = options->flags = 0;
}

/** Makes it ready to be filled. */
static inline void push_counters_init(push_counters *counters) {
    counters->size = sizeof *counters;
}
