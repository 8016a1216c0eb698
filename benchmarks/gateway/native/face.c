/* The stub engine's HTTP face: OpenAI's chat completions, answered at once from ready bytes, on one thread.
 *
 * usage: face PORT (0 is any free one, which is printed)
 *
 * `max_tokens` words are answered. With `stream` each is an event; `seed` is then the time between two of them in
 * microseconds, and without it all come at once.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ROOM (1 << 16)
#define MOST_FILES 65536

typedef struct {
    int fd;
    size_t length;        /* of what was received and not answered */
    char in[ROOM];
    char *out;            /* what the socket did not take */
    size_t out_length;
    int left;             /* events to come */
    double pause, next;   /* seconds between them; when the next one is due */
} Connection;

static Connection *connections[MOST_FILES];
static int poller, pacing, paced[MOST_FILES];
static const char *const WORD = " word";
static const char *const EVENT =
    "data: {\"id\":\"chatcmpl-stub\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"stub\","
    "\"choices\":[{\"index\":0,\"delta\":%s,\"finish_reason\":%s}]}\n\n";

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void drop(Connection *c) {
    for (int i = 0; i < pacing; i++)
        if (paced[i] == c->fd) paced[i--] = paced[--pacing];
    connections[c->fd] = NULL;
    close(c->fd);
    free(c->out);
    free(c);
}

static void want(Connection *c, bool writing) {
    struct epoll_event event = {.events = EPOLLIN | (writing ? EPOLLOUT : 0), .data.fd = c->fd};
    epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &event);
}

static void give(Connection *c, const char *data, size_t length) {
    ssize_t sent = c->out_length ? 0 : send(c->fd, data, length, MSG_NOSIGNAL);
    size_t done = sent > 0 ? (size_t)sent : 0;
    if (done == length) return;
    c->out = realloc(c->out, c->out_length + length - done);
    memcpy(c->out + c->out_length, data + done, length - done);
    c->out_length += length - done;
    want(c, true);
}

static void flush(Connection *c) {
    ssize_t sent = send(c->fd, c->out, c->out_length, MSG_NOSIGNAL);
    if (sent <= 0) return;
    c->out_length -= (size_t)sent;
    memmove(c->out, c->out + sent, c->out_length);
    if (!c->out_length) want(c, false);
}

static size_t chunk(char *to, const char *data) {
    return (size_t)sprintf(to, "%zx\r\n%s\r\n", strlen(data), data);
}

static size_t event(char *to, const char *delta, const char *reason) {
    char text[512];
    snprintf(text, sizeof text, EVENT, delta, reason);
    return chunk(to, text);
}

static size_t word(char *to) { return event(to, "{\"content\":\" word\"}", "null"); }

static size_t last(char *to) {
    size_t length = event(to, "{}", "\"length\"");
    length += chunk(to + length, "data: [DONE]\n\n");
    return length + (size_t)sprintf(to + length, "0\r\n\r\n");
}

static void stream(Connection *c, int tokens, double pause) {
    static char buffer[1 << 22];
    size_t length = (size_t)sprintf(
        buffer, "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n");
    length += event(buffer + length, "{\"role\":\"assistant\",\"content\":\"\"}", "null");
    if (pause > 0) {
        c->left = tokens;
        c->pause = pause;
        c->next = now() + pause;
        paced[pacing++] = c->fd;
    } else {
        for (int i = 0; i < tokens; i++) length += word(buffer + length);
        length += last(buffer + length);
    }
    give(c, buffer, length);
}

static void whole(Connection *c, int tokens) {
    static char body[1 << 20], answer[(1 << 20) + 256];
    size_t length = (size_t)sprintf(
        body, "{\"id\":\"chatcmpl-stub\",\"object\":\"chat.completion\",\"created\":1700000000,\"model\":\"stub\","
              "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"");
    for (int i = 0; i < tokens; i++, length += strlen(WORD)) memcpy(body + length, WORD, strlen(WORD));
    length += (size_t)sprintf(
        body + length, "\"},\"finish_reason\":\"length\"}],\"usage\":{\"prompt_tokens\":16,"
                       "\"completion_tokens\":%d,\"total_tokens\":%d}}", tokens, 16 + tokens);
    size_t all = (size_t)sprintf(
        answer, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %zu\r\n\r\n%s", length, body);
    give(c, answer, all);
}

static long number(const char *body, const char *name, long otherwise) {
    const char *at = strstr(body, name);
    return at ? atol(at + strlen(name) + (at[strlen(name)] == ' ')) : otherwise;
}

static void answer(Connection *c, const char *body) {
    int tokens = (int)number(body, "\"max_tokens\":", 16);
    if (tokens < 1 || tokens > 8192) tokens = 16;
    if (strstr(body, "\"stream\":true") || strstr(body, "\"stream\": true"))
        stream(c, tokens, 1e-6 * (double)number(body, "\"seed\":", 0));
    else
        whole(c, tokens);
}

static void receive(Connection *c) {
    ssize_t got = recv(c->fd, c->in + c->length, ROOM - 1 - c->length, 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
        drop(c);
        return;
    }
    c->length += (size_t)got;
    for (;;) {
        c->in[c->length] = 0;
        char *stop = memmem(c->in, c->length, "\r\n\r\n", 4);
        if (!stop) return;
        char *said = strcasestr(c->in, "\ncontent-length:");
        size_t head = (size_t)(stop - c->in) + 4, body = said && said < stop ? (size_t)atol(said + 16) : 0;
        if (c->length < head + body) return;
        char kept = c->in[head + body];
        c->in[head + body] = 0;
        answer(c, c->in + head);
        c->in[head + body] = kept;
        c->length -= head + body;
        memmove(c->in, c->in + head + body, c->length);
    }
}

static void tick(void) {
    char buffer[4096];
    double at = now();
    for (int i = 0; i < pacing; i++) {
        Connection *c = connections[paced[i]];
        while (c->left && c->next <= at) {
            give(c, buffer, word(buffer));
            c->left--;
            c->next += c->pause;
        }
        if (!c->left) {
            give(c, buffer, last(buffer));
            paced[i--] = paced[--pacing];
        }
    }
}

int main(int argc, char **argv) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)(argc > 1 ? atoi(argv[1]) : 0))};
    socklen_t size = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 2048)) {
        perror("listen");
        return 1;
    }
    getsockname(listener, (struct sockaddr *)&address, &size);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    poller = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, ready[256];
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int n = epoll_wait(poller, ready, 256, pacing ? 1 : -1);
        for (int i = 0; i < n; i++) {
            int fd = ready[i].data.fd;
            if (fd == listener) {
                int client = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
                if (client < 0 || client >= MOST_FILES) continue;
                setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                connections[client] = calloc(1, sizeof(Connection));
                connections[client]->fd = client;
                event.data.fd = client;
                epoll_ctl(poller, EPOLL_CTL_ADD, client, &event);
                continue;
            }
            if (connections[fd] && (ready[i].events & EPOLLOUT)) flush(connections[fd]);
            if (connections[fd] && (ready[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))) receive(connections[fd]);
        }
        if (pacing) tick();
    }
}
