// SPDX-License-Identifier: Apache-2.0
// client.h against the real session, back to back, and socket.h over a Unix socket.
#include "rpc/client/client.h"
#include "rpc/client/socket.h"
#include "session_case.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

typedef struct Pair {
    SessionCase server;
    Client *client;
} Pair;

// Less credit than clients like to grant at a time.
static void pair_limits(SessionLimits *limits) {
    limits->credit_first = 5;
}

static void pair_open(Pair *pair) {
    case_open(&pair->server, pair_limits);
    cr_assert_eq(client_open(&pair->client, NULL), OK);
    client_hello(pair->client, bytes_of_text("alice's token"), "test 1");
}

static void pair_close(Pair *pair) {
    client_close(pair->client);
    case_close(&pair->server);
}

// Carries bytes both ways, `step` at a time, until neither side has any.
static void pair_exchange(Pair *pair, size_t step) {
    for (;;) {
        Bytes out = client_output(pair->client);
        Bytes in = session_output(pair->server.session);
        if (out.length == 0 && in.length == 0) {
            return;
        }
        out.length = out.length < step ? out.length : step;
        in.length = in.length < step ? in.length : step;
        if (in.length > 0) {
            cr_assert_eq(client_receive(pair->client, in, NULL), OK);
            session_written(pair->server.session, in.length, 1000);
        }
        if (out.length > 0) {
            session_receive(pair->server.session, out, 1000);
            client_written(pair->client, out.length);
        }
    }
}

static bool pair_next(Pair *pair, ClientEvent *event) {
    Status status;
    Error error = {0};
    bool any = client_next(pair->client, event, &status, &error);
    cr_assert_eq(status, OK, "%s", error.text);
    return any;
}

static uint64_t pair_generate(Pair *pair, const GenerateCall *ask) {
    ClientEvent event;
    pair->server.accept_calls = true;
    uint32_t id = client_generate(pair->client, ask);
    pair_exchange(pair, 1000);
    while (pair_next(pair, &event)) {
        cr_assert_eq(event.kind, CLIENT_RESULT, "%s", event.error.text);
        if (event.call == id) {
            return event.stream;
        }
    }
    cr_assert_fail("generate was not answered");
    return 0;
}

Test(client, what_is_asked_arrives) {
    Pair pair;
    pair_open(&pair);
    const Bytes images[] = {bytes_of_text("\xff\xd8 jpeg"), bytes_of_text("png")};
    const Bytes stops[] = {bytes_of_text("\n\n")};
    const Bytes text = bytes_of_text("what is it?");
    CallMessage messages[2];
    CallPart parts[4];
    GenerateCall ask = generate_question(bytes_of_text("short"), text, images, 2, messages, parts);
    ask.sampling = (CallSampling){0.5, 40, -1, 0.25, -1};
    ask.seed = 77;
    ask.max_tokens = 9;
    ask.stops[0] = stops[0];
    ask.stop_count = 1;
    ask.budget = 140;
    ask.logprobs = 3;
    ask.batch = ask.thinking = true;
    pair_generate(&pair, &ask);
    const GenerateCall *got = &pair.server.calls[0]->generate;
    cr_assert_eq(got->message_count, 2);
    cr_assert_eq(got->messages[0].role, CALL_SYSTEM);
    cr_assert(bytes_equal(got->messages[0].parts[0].text, bytes_of_text("short")));
    cr_assert_eq(got->messages[1].part_count, 3);
    cr_assert(bytes_equal(got->messages[1].parts[1].data, images[1]));
    cr_assert(bytes_equal(got->messages[1].parts[2].text, text));
    cr_assert_eq(got->media_count, 2);
    cr_assert_eq(got->sampling.temperature, 0.5);
    cr_assert_eq(got->sampling.top_k, 40);
    cr_assert_eq(got->sampling.top_p, -1);
    cr_assert_eq(got->seed, 77);
    cr_assert_eq(got->max_tokens, 9);
    cr_assert(bytes_equal(got->stops[0], stops[0]));
    cr_assert_eq(got->budget, 140);
    cr_assert_eq(got->logprobs, 3);
    cr_assert(got->batch && got->thinking && !got->stream);
    pair_close(&pair);
}

Test(client, a_stream_of_a_thousand_tokens_arrives_whole_with_credit_granted_on_the_way) {
    Pair pair;
    pair_open(&pair);
    CallMessage messages[2];
    CallPart parts[2];
    GenerateCall ask =
        generate_question((Bytes){0}, bytes_of_text("count"), NULL, 0, messages, parts);
    ask.max_tokens = 1000;
    ask.stream = true;
    uint64_t stream = pair_generate(&pair, &ask);
    Buffer got = {0}, sent = {0};
    ClientEvent event;
    uint32_t ids = 0;
    for (int32_t i = 0; i < 1000; i++) {
        char word[16];
        snprintf(word, sizeof word, "%d ", i);
        buffer_append_text(&sent, word);
        session_token(pair.server.session, stream,
                      &(TokenEvent){.text = bytes_of_text(word), .id = &i, .id_count = 1});
        if (i % 50 == 0) {
            pair_exchange(&pair, 7);
        }
        while (pair_next(&pair, &event)) {
            cr_assert_eq(event.kind, CLIENT_TOKEN);
            buffer_append(&got, event.piece.text.data, event.piece.text.length);
            ids += event.piece.id_count;
        }
    }
    session_done(pair.server.session, stream,
                 &(DoneEvent){.reasons = {DONE_LENGTH}, .output_tokens = 1000, .total_ms = 12.5});
    bool done = false;
    for (int round = 0; round < 100 && !done; round++) {
        pair_exchange(&pair, 100);
        while (pair_next(&pair, &event)) {
            done = event.kind == CLIENT_DONE;
            ids += event.piece.id_count;
            buffer_append(&got, event.piece.text.data, done ? 0 : event.piece.text.length);
        }
    }
    cr_assert(done);
    cr_assert_str_eq((const char *)got.data, (const char *)sent.data);
    cr_assert_eq(ids, 1000);
    buffer_free(&got);
    buffer_free(&sent);
    pair_close(&pair);
}

Test(client, an_answer_without_stream_comes_with_done) {
    Pair pair;
    pair_open(&pair);
    CallMessage messages[2];
    CallPart parts[2];
    const GenerateCall ask =
        generate_question((Bytes){0}, bytes_of_text("hi"), NULL, 0, messages, parts);
    uint64_t stream = pair_generate(&pair, &ask);
    const int32_t id = 5;
    const ChoiceEvent top = {.id = 5, .text = bytes_of_text("ho"), .logprob = -0.5};
    const LogprobEvent logprob = {top, &top, 1};
    session_token(
        pair.server.session, stream,
        &(TokenEvent){.text = bytes_of_text("ho"), .id = &id, .id_count = 1, .logprobs = &logprob});
    session_done(pair.server.session, stream,
                 &(DoneEvent){.reasons = {DONE_STOP}, .prompt_tokens = 12, .image_tokens = 3});
    pair_exchange(&pair, 1000);
    ClientEvent event;
    cr_assert(pair_next(&pair, &event));
    cr_assert_eq(event.kind, CLIENT_DONE);
    cr_assert_eq(event.stream, stream);
    cr_assert(bytes_equal(event.samples[0].piece.text, bytes_of_text("ho")));
    cr_assert(bytes_equal(event.samples[0].reason, bytes_of_text("stop")));
    cr_assert_eq(event.samples[0].piece.logprobs->via.array.size, 1);
    cr_assert_eq(event.usage.prompt_tokens, 12);
    cr_assert_eq(event.usage.image_tokens, 3);
    cr_assert_eq(event.error.status, OK);
    pair_close(&pair);
}

Test(client, refusals_and_goodbyes_carry_their_sentence) {
    Pair pair;
    pair_open(&pair);
    pair.server.refuse_calls = true;
    uint32_t id = client_call(pair.client, METHOD_STATS);
    pair_exchange(&pair, 1000);
    session_end(pair.server.session, E_DRAIN, NULL);
    pair_exchange(&pair, 1000);
    ClientEvent event;
    cr_assert(pair_next(&pair, &event)); // hello
    cr_assert(pair_next(&pair, &event));
    cr_assert_eq(event.kind, CLIENT_REFUSED);
    cr_assert_eq(event.call, id);
    cr_assert_eq(event.method, METHOD_STATS);
    cr_assert_eq(event.error.status, E_BUSY);
    cr_assert_eq(event.retry_after_ms, 250);
    cr_assert(pair_next(&pair, &event));
    cr_assert_eq(event.kind, CLIENT_GOODBYE);
    cr_assert_eq(event.error.status, E_DRAIN);
    cr_assert_str_eq(event.error.text, "the server is shutting down");
    pair_close(&pair);
}

Test(client, models_and_hello_are_read_back) {
    Pair pair;
    pair_open(&pair);
    client_call(pair.client, METHOD_MODELS);
    pair_exchange(&pair, 1000);
    const ModelResult model = {
        .name = bytes_of_text("demo"),
        .identity = bytes_of_text("00ff"),
        .weights = bytes_of_text("int4 g32"),
        .activations = bytes_of_text("int8"),
        .kv = bytes_of_text("bf16"),
        .context = 4096,
        .images = 4,
        .vision = true,
        .budget = 280,
        .sampling = {1.0, 64, 0.95, 0, 1},
    };
    Buffer result = {0};
    result_put_models(&result, &model, 1);
    session_result(pair.server.session, pair.server.calls[0]->ticket, &result);
    pair_exchange(&pair, 1000);
    ClientEvent event;
    ClientHello hello;
    ClientModel got;
    cr_assert(pair_next(&pair, &event));
    cr_assert_eq(client_read_hello(event.result, &hello, NULL), OK);
    cr_assert_eq(hello.in_flight, pair.server.limits.in_flight_max);
    cr_assert(bytes_equal(hello.user, bytes_of_text("alice")));
    cr_assert(pair_next(&pair, &event));
    cr_assert_eq(client_read_model(event.result, &got, NULL), OK);
    cr_assert(bytes_equal(got.weights, model.weights));
    cr_assert_eq(got.budget, 280);
    cr_assert_eq(got.sampling.top_k, 64);
    buffer_free(&result);
    pair_close(&pair);
}

Test(client, what_no_server_says_is_an_error) {
    const Bytes bad[] = {
        bytes_of_text("HTTP/1.1 400"),
        bytes_of_text("\x94\x01\x63\xc0\x80"),         // answers call 99
        {(const uint8_t *)"\x94\x00\x01\xa1x\x80", 6}, // a request
        bytes_of_text("\x93\x02\xa5token\x81\xa2id\xa3"
                      "abc"), // an id that is text
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        Client *client;
        ClientEvent event;
        Status status;
        cr_assert_eq(client_open(&client, NULL), OK);
        cr_assert_eq(client_receive(client, bad[i], NULL), OK);
        cr_assert_not(client_next(client, &event, &status, NULL));
        cr_assert_eq(status, E_MESSAGE, "case %zu", i);
        client_close(client);
    }
}

// ---- The socket ---------------------------------------------------------------------------------

Test(socket, addresses_that_are_none_are_refused_with_the_forms) {
    const char *bad[] = {"", "host", ":8000", "host:", "fe80::1:8000", "[]:1"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        Socket socket;
        Error error = {0};
        cr_assert_eq(socket_connect(bad[i], &socket, &error), E_ARGUMENT, "%s", bad[i]);
        cr_assert_not_null(strstr(error.text, "HOST:PORT"));
    }
    Socket socket;
    cr_assert_eq(socket_connect("/nowhere/tessera.sock", &socket, NULL), E_LOST);
}

// Listens at `path`, a name in a folder that is made here; `folder` is a template of mkdtemp.
static int listener_open(char *folder, int backlog, char path[64]) {
    cr_assert_not_null(mkdtemp(folder));
    snprintf(path, 64, "%s/s", folder);
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    memcpy(name.sun_path, path, strlen(path) + 1);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    cr_assert_eq(bind(listener, (const struct sockaddr *)&name, sizeof name), 0);
    cr_assert_eq(listen(listener, backlog), 0);
    return listener;
}

static bool socket_unwanted(void) {
    return false;
}

Test(socket, a_connect_that_finds_no_place_ends_when_it_is_not_wanted) {
    char folder[] = "/tmp/tessera-socket-XXXXXX", path[64];
    int listener = listener_open(folder, 0, path);
    Socket first, second;
    Error error = {0};
    cr_assert_eq(socket_connect_while(path, socket_unwanted, &first, NULL), OK);
    cr_assert_eq(socket_connect_while(path, socket_unwanted, &second, &error), E_CANCELLED);
    cr_assert_not_null(strstr(error.text, path));
    cr_assert_eq(second.fd, -1);
    socket_close(&first);
    close(listener);
    unlink(path);
    rmdir(folder);
}

Test(socket, a_call_goes_there_and_back_and_a_lost_server_is_noticed) {
    char folder[] = "/tmp/tessera-socket-XXXXXX", path[64];
    int listener = listener_open(folder, 1, path);
    Socket socket;
    Pair pair;
    pair_open(&pair);
    cr_assert_eq(socket_connect(path, &socket, NULL), OK);
    int peer = accept(listener, NULL, NULL);
    cr_assert_eq(socket_pump(&socket, pair.client, 1000, NULL), OK);
    uint8_t bytes[4096];
    ssize_t count = read(peer, bytes, sizeof bytes);
    cr_assert_gt(count, 0);
    session_receive(pair.server.session, (Bytes){bytes, (size_t)count}, 1000);
    Bytes out = session_output(pair.server.session);
    cr_assert_eq(write(peer, out.data, out.length), (ssize_t)out.length);
    close(peer);
    cr_assert_eq(socket_pump(&socket, pair.client, 1000, NULL), OK);
    ClientEvent event;
    cr_assert(pair_next(&pair, &event));
    cr_assert_eq(event.method, METHOD_HELLO);
    Error error = {0};
    cr_assert_eq(socket_pump(&socket, pair.client, 1000, &error), E_LOST);
    socket_close(&socket);
    close(listener);
    unlink(path);
    rmdir(folder);
    pair_close(&pair);
}

Test(client, stats_are_read_back_and_more_users_than_there_is_room_for_are_left_out) {
    Pair pair;
    pair_open(&pair);
    uint32_t call = client_call(pair.client, METHOD_STATS);
    pair_exchange(&pair, 1000);
    const UserRow rows[] = {{.name = bytes_of_text("alice"), .in_flight = 3, .service = 2.5},
                            {.name = bytes_of_text("bob"), .output_tokens = INT64_MAX}};
    const ServerStats told = {.uptime_ms = 5, .tokens_per_second = 0.125, .retry_ms = 77};
    Buffer result = {0};
    result_put_stats(&result, &told, rows, 2);
    session_result(pair.server.session, pair.server.calls[0]->ticket, &result);
    pair_exchange(&pair, 1000);
    ClientEvent event;
    do {
        cr_assert(pair_next(&pair, &event));
    } while (event.call != call);
    ServerStats server;
    UserRow users[2];
    uint32_t count;
    cr_assert_eq(client_read_stats(event.result, &server, users, 2, &count, NULL), OK);
    cr_assert_eq(memcmp(&server, &told, sizeof told), 0);
    cr_assert_eq(count, 2);
    cr_assert(bytes_equal(users[0].name, rows[0].name) && bytes_equal(users[1].name, rows[1].name));
    cr_assert_eq(users[0].in_flight, 3);
    cr_assert_eq(users[0].service, 2.5);
    cr_assert_eq(users[1].output_tokens, INT64_MAX);
    cr_assert_eq(client_read_stats(event.result, &server, users, 1, &count, NULL), OK);
    cr_assert_eq(count, 1);
    buffer_free(&result);
    pair_close(&pair);
}
