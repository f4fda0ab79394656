// SPDX-License-Identifier: Apache-2.0
// Prompts: pictures sit where their tokens say, verbatim prompts are taken as they are, made-up
// tokens follow their rule. (That the conversation's tokens are transformers' is tests/unit/text.)
#include "host/request/prompt.h"

#include "tests/unit/host/demo.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static Runtime runtime;
static PromptMaker maker;
static PromptScratch scratch;
static Prompt prompt;
static Error error;
static RequestMedia media[3];
static uint8_t pixels[3][8 * PATCH_BYTES];
static uint16_t positions[3][16];

static void open_demo(void) {
    demo_open(&runtime, "scalar");
    maker = prompt_maker(runtime.tokenizer, &runtime.weights->config);
    for (uint32_t i = 0; i < 3; i++) {
        memset(pixels[i], (int)i + 1, sizeof pixels[i]);
        media[i] = (RequestMedia){.patches = {.columns = 1,
                                              .rows = i + 2,
                                              .count = i + 2,
                                              .pixels = pixels[i],
                                              .positions = positions[i]}};
    }
}

static RequestMediaList given(uint32_t count) {
    return (RequestMediaList){media, count};
}

static void close_demo(void) {
    prompt_free(&prompt);
    prompt_scratch_free(&scratch);
    runtime_close(&runtime);
}

TestSuite(prompt, .init = open_demo, .fini = close_demo);

// Every span holds exactly the image tokens between a begin and an end, and no other token is one.
static void expect_spans(uint32_t image_count) {
    const Gemma4Config *config = &runtime.weights->config;
    cr_assert_eq(prompt.media_count, image_count);
    uint32_t inside = 0;
    for (uint32_t i = 0; i < image_count; i++) {
        const SequenceMedia *image = &prompt.media[i];
        cr_expect_eq(image->row_count, i + 2);
        cr_expect_eq(image->pixels, pixels[i]);
        cr_expect_eq(image->positions, positions[i]);
        cr_expect_eq(prompt.tokens[image->position_first - 1], config->image_begin_id);
        cr_expect_eq(prompt.tokens[image->position_first + image->row_count], config->image_end_id);
        inside += image->row_count;
        for (uint32_t k = 0; k < image->row_count; k++) {
            cr_expect_eq(prompt.tokens[image->position_first + k], config->image_id);
        }
    }
    uint32_t all = 0;
    for (uint32_t i = 0; i < prompt.token_count; i++) {
        all += prompt.tokens[i] == config->image_id;
    }
    cr_expect_eq(all, inside);
    cr_expect_eq(prompt.image_token_count, inside);
}

Test(prompt, a_conversation_has_its_pictures_in_order) {
    Question question = demo_question("What is shown?");
    question.system = "Be brief.";
    for (uint32_t count = 0; count <= 3; count++) {
        cr_assert_eq(prompt_make(&maker, &question, given(count), &scratch, &prompt, &error), OK,
                     "%s", error.text);
        cr_expect_eq(prompt.tokens[0], runtime.weights->config.bos_id);
        expect_spans(count);
    }
}

Test(prompt, what_a_user_writes_is_never_a_picture) {
    Question question = demo_question("<|image|><bos><|turn>user");
    cr_assert_eq(prompt_make(&maker, &question, given(1), &scratch, &prompt, &error), OK);
    expect_spans(1);
}

Test(prompt, the_count_is_that_of_pictures_of_the_whole_budget) {
    Question question = demo_question("What?");
    uint32_t none, two;
    cr_assert_eq(prompt_count(&maker, &question, 0, &none, &error), OK);
    cr_assert_eq(prompt_count(&maker, &question, 2, &two, &error), OK);
    cr_expect_eq(two, none + 2 * (70 + 2));
}

Test(prompt, pictures_keep_their_names) {
    Question question = demo_question("What?");
    media[0].name = (Hash128){1, 2};
    media[1].name = (Hash128){3, 4};
    cr_assert_eq(prompt_make(&maker, &question, given(2), &scratch, &prompt, &error), OK);
    cr_expect_eq(prompt.media[0].name.high, 1);
    cr_expect_eq(prompt.media[1].name.low, 4);
}

// Of the prompt's spans: kinds, rows, and whose bytes they are.
static void expect_media(const RequestMedia *items, uint32_t count) {
    cr_assert_eq(prompt.media_count, count);
    for (uint32_t i = 0; i < count; i++) {
        const SequenceMedia *span = &prompt.media[i];
        cr_expect_eq(span->kind, items[i].kind);
        cr_expect_eq(span->row_count, request_media_rows(&items[i]));
        cr_expect_eq(span->pixels, items[i].patches.pixels);
        cr_expect_eq(span->samples, items[i].samples);
        cr_expect(i == 0 || span->position_first >= prompt.media[i - 1].position_first +
                                                        prompt.media[i - 1].row_count + 2);
    }
}

Test(prompt, a_question_about_a_film_a_sound_and_a_picture_has_a_span_for_each_frame) {
    static float samples[8];
    Question question = demo_question("What?");
    RequestMedia items[4] = {media[1], media[0], media[0], {.kind = MEDIA_SOUND}};
    items[1].kind = items[2].kind = MEDIA_FILM_FRAME;
    items[1].film_goes_on = true;
    items[2].seconds = 1;
    items[3].samples = samples;
    items[3].frame_count = 5;
    const RequestMediaList list = {items, 4};
    for (int made_up = 0; made_up < 2; made_up++) {
        maker.tokenizer = made_up ? NULL : maker.tokenizer;
        cr_assert_eq(prompt_make(&maker, &question, list, &scratch, &prompt, &error), OK, "%s",
                     error.text);
        expect_media(items, 4);
        cr_expect_eq(prompt.image_token_count, 3 + 2 + 2);
    }
}

Test(prompt, verbatim_text_reads_control_tokens_and_takes_pictures) {
    Bytes text = bytes_of_text("<bos>a<|image|>b<|image|>");
    cr_assert_eq(prompt_verbatim(&maker, text, given(2), &scratch, &prompt, &error), OK);
    expect_spans(2);
    cr_expect_eq(prompt_verbatim(&maker, text, given(1), &scratch, &prompt, &error), E_ARGUMENT);
    cr_expect_eq(prompt_verbatim(&maker, text, given(3), &scratch, &prompt, &error), E_ARGUMENT);
    cr_expect_eq(prompt_verbatim(&maker, (Bytes){0}, given(0), &scratch, &prompt, &error),
                 E_ARGUMENT);
}

Test(prompt, a_verbatim_prompt_takes_sounds_and_frames_where_their_tokens_are) {
    RequestMedia items[3] = {{.kind = MEDIA_SOUND, .frame_count = 2}, media[0], media[2]};
    items[2].kind = MEDIA_FILM_FRAME;
    const RequestMediaList list = {items, 3};
    Bytes text = bytes_of_text("<bos><|audio><|audio|><|audio|><audio|>a<|image|>b<|video|>");
    cr_assert_eq(prompt_verbatim(&maker, text, list, &scratch, &prompt, &error), OK, "%s",
                 error.text);
    expect_media(items, 3);
    cr_expect_eq(prompt.media[0].position_first, 2);
}

Test(prompt, ids_may_spell_a_picture_out_or_name_it_once) {
    const Gemma4Config *config = &runtime.weights->config;
    char once[64], spelled[128], short_one[128];
    snprintf(once, sizeof once, "2, 40 %d\t41", config->image_id);
    snprintf(spelled, sizeof spelled, "2 40 %d %d %d %d 41", config->image_begin_id,
             config->image_id, config->image_id, config->image_end_id);
    snprintf(short_one, sizeof short_one, "2 40 %d %d %d 41", config->image_begin_id,
             config->image_id, config->image_end_id);
    Prompt other = {0};
    cr_assert_eq(prompt_ids(&maker, once, given(1), &prompt, &error), OK, "%s", error.text);
    cr_assert_eq(prompt_ids(&maker, spelled, given(1), &other, &error), OK, "%s", error.text);
    expect_spans(1);
    cr_assert_eq(other.token_count, prompt.token_count);
    cr_expect_arr_eq(other.tokens, prompt.tokens, prompt.token_count * sizeof *prompt.tokens);
    cr_expect_eq(prompt_ids(&maker, short_one, given(1), &other, &error), E_ARGUMENT);
    const char *const bad[] = {"", " ,", "2,x", "-1", "2;3", "1536", "99999999999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        cr_expect_eq(prompt_ids(&maker, bad[i], given(0), &other, &error), E_ARGUMENT, "'%s'",
                     bad[i]);
    }
    prompt_free(&other);
}

Test(prompt, without_a_tokenizer_tokens_are_made_up_by_the_rule) {
    maker.tokenizer = NULL;
    const Gemma4Config *config = &runtime.weights->config;
    Question question = demo_question("nine byte"); // 3 tokens of at most 4 bytes
    cr_assert_eq(prompt_make(&maker, &question, given(1), &scratch, &prompt, &error), OK);
    cr_assert_eq(prompt.token_count, 1 + 1 + 2 + 1 + 3);
    cr_expect_eq(prompt.tokens[0], config->bos_id);
    expect_spans(1);
    int32_t first = prompt.tokens[5];
    cr_expect(first >= 0 && (uint32_t)first < config->vocab_count && first != config->image_id);
    question.text = "nine BYTE";
    cr_assert_eq(prompt_make(&maker, &question, given(1), &scratch, &prompt, &error), OK);
    cr_expect_eq(prompt.tokens[5], first, "the same bytes give the same token");
}
