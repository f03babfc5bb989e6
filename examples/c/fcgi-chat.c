/* The Web IM's flow as a FastCGI program behind nginx, several processes of it started by spawn-fcgi:
 *
 *     cc fcgi-chat.c $(pkg-config --cflags --libs push) -lfcgi -o fcgi-chat
 *     spawn-fcgi -s /run/fcgi-chat.sock -F 4 ./fcgi-chat
 *
 *     location /chat/ { include fastcgi_params; fastcgi_pass unix:/run/fcgi-chat.sock; }
 *     location /sub/  { proxy_pass http://127.0.0.1:8380; proxy_buffering off; }
 *
 * GET /chat/start?user=ada makes the user's channel, sets the user online, and answers {"channel":"...","position":"..."}; the page
 * then long-polls GET /sub/<channel>?position=<position>, which keeps the user online. POST /chat/send?to=<channel> publishes the body
 * to a channel, and GET /chat/online?user=ben answers {"online":true} or false. A real site takes the user from its own session, and
 * looks up the channel of the other in its own data.
 *
 * PUSH_SOCKET in the environment leads to another hub than the system's. */
#include <push.h>

#include <fcgiapp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LONGEST_TEXT = 8192 };

/* The value of an argument of the URL, when it is plain: letters, digits, '-' and '_'. */
static push_text argument(const FCGX_Request *request, const char *name) {
    const char *query = FCGX_GetParam("QUERY_STRING", request->envp);
    size_t len = strlen(name);
    while (query != NULL && *query != '\0') {
        if (strncmp(query, name, len) == 0 && query[len] == '=') {
            push_text value = push_str(query + len + 1);
            value.len = strspn(value.data, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_");
            return value;
        }
        query = strchr(query, '&');
        query = query == NULL ? NULL : query + 1;
    }
    return push_str(NULL);
}

static void refuse(FCGX_Request *request, const char *status, const char *why) {
    FCGX_FPrintF(request->out, "Status: %s\r\nContent-Type: text/plain\r\n\r\n%s\n", status, why);
}

/* What the hub says, as an answer of HTTP: it may be back in a moment, everything else is the caller's mistake. */
static void explain(FCGX_Request *request, push_status status) {
    int away = status == PUSH_HUB_UNAVAILABLE || status == PUSH_TIMEOUT;
    refuse(request, away ? "503 Service Unavailable" : "400 Bad Request", push_last_error());
}

static void start(FCGX_Request *request, const push_client *client) {
    push_channel_options options;
    char channel[PUSH_GENERATED_NAME_SIZE];
    char text[PUSH_POSITION_SIZE];
    uint64_t position = 0;
    push_status status;
    push_channel_options_init(&options);
    options.owner = argument(request, "user");
    if (options.owner.len == 0) {
        refuse(request, "401 Unauthorized", "Who are you?");
        return;
    }
    status = push_create_channel(client, push_str(NULL), &options, channel, sizeof channel);
    if (status == PUSH_OK) {
        status = push_presence_online(client, options.owner, push_str(NULL), push_str(NULL), 0, NULL);
    }
    if (status == PUSH_OK) {
        status = push_position(client, &position);
    }
    if (status == PUSH_OK) {
        status = push_position_text(position, text, sizeof text);
    }
    if (status != PUSH_OK) {
        explain(request, status);
        return;
    }
    FCGX_FPrintF(request->out, "Content-Type: application/json\r\n\r\n{\"channel\":\"%s\",\"position\":\"%s\"}\n", channel, text);
}

static void say(FCGX_Request *request, const push_client *client) {
    char text[LONGEST_TEXT];
    push_text to = argument(request, "to");
    int len = FCGX_GetStr(text, sizeof text, request->in);
    push_published published;
    push_channel *channel = NULL;
    push_status status = push_channel_info(client, to, &channel);
    push_channel_free(channel);
    if (status == PUSH_CHANNEL_NOT_FOUND) {
        refuse(request, "404 Not Found", "Nobody is there.");
        return;
    }
    if (status == PUSH_OK) {
        status = push_publish(client, to, push_data(text, (size_t)len), NULL, &published);
    }
    if (status != PUSH_OK) {
        explain(request, status);
        return;
    }
    FCGX_FPrintF(request->out, "Content-Type: application/json\r\n\r\n{\"id\":%llu}\n", (unsigned long long)published.id);
}

static void online(FCGX_Request *request, const push_client *client) {
    bool is_online = false;
    push_status status = push_presence_is_online(client, argument(request, "user"), push_str(NULL), &is_online);
    if (status != PUSH_OK) {
        explain(request, status);
        return;
    }
    FCGX_FPrintF(request->out, "Content-Type: application/json\r\n\r\n{\"online\":%s}\n", is_online ? "true" : "false");
}

int main(void) {
    push_config *config = push_config_new();
    push_client *client = NULL;
    FCGX_Request request;
    if (getenv("PUSH_SOCKET") != NULL && push_config_set(config, "socket", getenv("PUSH_SOCKET")) != PUSH_OK) {
        fprintf(stderr, "PUSH_SOCKET: %s\n", push_last_error());
        return 1;
    }
    /* Each process attaches at its first call; without a hub it answers 503 until there is one. */
    if (push_client_open(config, &client) != PUSH_OK || FCGX_Init() != 0 || FCGX_InitRequest(&request, 0, 0) != 0) {
        fprintf(stderr, "cannot start: %s\n", push_last_error());
        return 1;
    }
    push_config_free(config);
    while (FCGX_Accept_r(&request) == 0) {
        const char *path = FCGX_GetParam("SCRIPT_NAME", request.envp);
        const char *method = FCGX_GetParam("REQUEST_METHOD", request.envp);
        if (path != NULL && strcmp(path, "/chat/start") == 0) {
            start(&request, client);
        } else if (path != NULL && strcmp(path, "/chat/online") == 0) {
            online(&request, client);
        } else if (path != NULL && strcmp(path, "/chat/send") == 0 && method != NULL && strcmp(method, "POST") == 0) {
            say(&request, client);
        } else {
            refuse(&request, "404 Not Found", "There are /chat/start, /chat/online and, by POST, /chat/send.");
        }
        FCGX_Finish_r(&request);
    }
    push_client_free(client);
    return 0;
}
