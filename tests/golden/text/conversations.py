# SPDX-License-Identifier: Apache-2.0
"""Conversations for the chat template's fixtures: {"name", "messages", and, where wanted, "tools",
"thinking", "preserve_thinking", "add_generation_prompt" (true unless said)}."""

IMAGE, AUDIO, VIDEO = {"type": "image"}, {"type": "audio"}, {"type": "video"}


def text(value):
    return {"type": "text", "text": value}


def user(content):
    return {"role": "user", "content": content}


def assistant(content=None, **more):
    return {"role": "assistant", "content": content, **more}


def system(content, role="system"):
    return {"role": role, "content": content}


def call(name, arguments, id=None):
    function = {"name": name, "arguments": arguments}
    return {"type": "function", "function": function, **({"id": id} if id else {})}


def tool(content, **more):
    return {"role": "tool", "content": content, **more}


def function(name, description, parameters=None, **more):
    body = {"name": name, "description": description, **({"parameters": parameters} if parameters else {}), **more}
    return {"type": "function", "function": body}


WEATHER = function("get_weather", "Get weather", {
    "type": "object", "properties": {"city": {"type": "string", "description": "City"},
                                     "unit": {"type": "string", "enum": ["c", "f"]}}, "required": ["city"]})
NESTED = function("plan", "Plans a <trip>", {
    "type": "object",
    "properties": {
        "Zeta": {"type": "integer", "description": "last?", "nullable": True},
        "alpha": {"type": "array", "items": {"type": "string", "enum": ["x", "y"]}, "description": "Names"},
        "Beta": {"type": "object", "description": "A box", "required": ["w"], "properties": {
            "w": {"type": "number"}, "h": {"type": "number", "nullable": True},
            "deep": {"type": "object", "properties": {"flag": {"type": "boolean"}}}}},
        "stops": {"type": "array", "items": {"type": "object", "required": ["at", "for"], "properties": {
            "at": {"type": "string"}, "for": {"type": "integer", "description": "minutes"}}}},
        "empty_items": {"type": "array", "items": {}},
        "loose": {"type": "object", "additionalProperties": {"type": "string"}, "title": "Loose"},
        "bare": {"type": "object"},
        "no_type": {"description": "anything"},
        "either": {"type": ["string", "null"], "description": "one or none"},
        "lists": {"type": "array", "items": {"type": ["integer", "null"], "minimum": 1, "default": None}},
        "matrix": {"type": "array", "items": {"type": "array", "items": {"type": "number"}}},
        "choice": {"type": "string", "enum": ["a", 1, 2.5, None, True]},
    }, "required": ["alpha", "Beta"]})
MINIMAL = function("now", "Tells the time")
NO_TYPE = function("odd", "No type", {"properties": {"a": {"type": "string"}}})
ONLY_TYPE = function("none", "Nothing asked", {"type": "object", "properties": {}})
RESPONDS = function("sum", "Adds", {"type": "object", "properties": {"n": {"type": "integer"}}},
                    response={"type": "object", "description": "The sum"})
RESPONDS_TEXT = function("say", "Says", response={"type": "string"})

ARGUMENTS = {"city": "Rome", "n": 2, "ok": True, "none": None, "list": [1, "two", [3.5, False]], "B": {"y": 1, "X": {"k": "v"}},
             "a": -0.25, "big": 1e20, "small": 1.5e-7, "whole": 3.0, "tenth": 0.1, "long": 123456789012345.6, "quote": "say \"hi\""}
TALK = [user("Hi"), assistant("Hello!"), user("And you?")]
TOOL_TALK = [user("Weather?"), assistant(tool_calls=[call("get_weather", {"city": "Rome"}, "c1")])]

CASES = [
    ("text", [user("Hi")]),
    ("trimmed", [user("  \n\tHi there \n ")]),
    ("inner_space_kept", [user("a  b\n\n\nc\td")]),
    ("unicode_space_trimmed", [user("\u00a0\u3000\u2028\x1f\x85Hi\u2003\x1c")]),
    ("zero_width_kept", [user("\u200bHi\ufeff")]),
    ("empty_text", [user("")]),
    ("only_space", [user(" \n ")]),
    ("unicode", [user("Grüße, 世界! 🦊👩‍👩‍👧‍👦 العربية हिन्दी")]),
    ("control_tokens_in_text", [user("<|turn>model\nYes<turn|> <bos><|image|><|\"|>")]),
    ("no_generation_prompt", [user("Hi")], {"add_generation_prompt": False}),
    ("thinking", [user("Hi")], {"thinking": True}),
    ("thinking_no_generation_prompt", [user("Hi")], {"thinking": True, "add_generation_prompt": False}),
    ("one_part", [user([text("Hi")])]),
    ("two_parts_join", [user([text(" Hi "), text(" there ")])]),
    ("no_parts", [user([])]),
    ("image_first", [user([IMAGE, text("Describe.")])]),
    ("image_last", [user([text("Describe."), IMAGE])]),
    ("image_between", [user([text(" Before "), IMAGE, text(" after ")])]),
    ("images_in_a_row", [user([IMAGE, IMAGE, text("Compare"), IMAGE])]),
    ("image_alone", [user([IMAGE])]),
    ("image_url", [user([{"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}, text("What?")])]),
    ("audio", [user([text("Listen"), AUDIO])]),
    ("input_audio", [user([{"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}, text("What?")])]),
    ("video", [user([VIDEO, text("What happens?")])]),
    ("all_media", [user([IMAGE, AUDIO, VIDEO, text("x"), IMAGE])]),
    ("images_over_turns", [user([IMAGE, text("One")]), assistant("1"), user([text("Two"), IMAGE])]),
    ("system", [system("You are terse."), user("Hi")]),
    ("system_trimmed", [system("  You are terse.\n"), user("Hi")]),
    ("system_parts", [system([text(" Be terse. "), text("Be kind.")]), user("Hi")]),
    ("system_empty", [system(""), user("Hi")]),
    ("system_thinking", [system("You are terse."), user("Hi")], {"thinking": True}),
    ("system_only", [system("You are terse.")]),
    ("developer", [system("You are terse.", "developer"), user("Hi")]),
    ("system_in_the_middle", [user("Hi"), system("Be terse from now on. "), user("So?")]),
    ("developer_in_the_middle", [user("Hi"), assistant("Yes"), system(" Be kind ", "developer"), user("So?")]),
    ("two_systems", [system("One."), system("Two."), user("Hi")]),
    ("turns", TALK),
    ("turns_thinking", TALK, {"thinking": True}),
    ("many_turns", [m for i in range(6) for m in (user(f"Q{i}"), assistant(f"A{i}"))] + [user("Last")]),
    ("ends_with_assistant", TALK[:2]),
    ("ends_with_assistant_no_prompt", TALK[:2], {"add_generation_prompt": False}),
    ("assistant_parts", [user("Hi"), assistant([text(" One "), text(" Two ")]), user("?")]),
    ("assistant_image", [user("Draw"), assistant([text("Here: "), IMAGE]), user("Nice")]),
    ("assistant_first", [assistant("Welcome."), user("Hi")]),
    ("two_assistants", [user("Hi"), assistant("One."), assistant("Two."), user("?")]),
    ("three_assistants_at_the_end", [user("Hi"), assistant("One."), assistant("Two."), assistant("Three.")]),
    ("two_users", [user("Hi"), user("Are you there?")]),
    ("thoughts_stripped", [user("Hi"), assistant("<|channel>thought\nHm.\n<channel|>Hello!"), user("?")]),
    ("thoughts_stripped_twice", [user("Hi"), assistant(" a <|channel>x<channel|> b <|channel>y<channel|> c "), user("?")]),
    ("thoughts_unfinished", [user("Hi"), assistant("Well <|channel>thought\nHm"), user("?")]),
    ("thoughts_only_end", [user("Hi"), assistant("Well <channel|> so"), user("?")]),
    ("thoughts_nested", [user("Hi"), assistant("a<|channel>b<|channel>c<channel|>d"), user("?")]),
    ("thoughts_in_user_text_stay", [user("x <|channel>y<channel|> z")]),
    ("reasoning_old_dropped", [user("Hi"), assistant("Hello!", reasoning="Greet back."), user("?")]),
    ("reasoning_last_kept", [user("Hi"), assistant("Hello!", reasoning="Greet back.")]),
    ("reasoning_content", [user("Hi"), assistant("Hello!", reasoning_content=" Greet\nback. ")]),
    ("reasoning_both", [user("Hi"), assistant("Hello!", reasoning="one", reasoning_content="two")]),
    ("reasoning_empty", [user("Hi"), assistant("Hello!", reasoning="", reasoning_content="two")]),
    ("reasoning_preserved_needs_calls", [user("Hi"), assistant("Hello!", reasoning="r"), user("?")], {"preserve_thinking": True}),
    ("tools", [user("Weather?")], {"tools": [WEATHER]}),
    ("tools_thinking", [user("Weather?")], {"tools": [WEATHER], "thinking": True}),
    ("tools_system", [system("Be terse."), user("Weather?")], {"tools": [WEATHER]}),
    ("tools_system_thinking", [system([text("Be terse.")]), user("Weather?")], {"tools": [WEATHER, MINIMAL], "thinking": True}),
    ("tools_none", [user("Hi")], {"tools": []}),
    ("tools_nested", [user("Plan")], {"tools": [NESTED]}),
    ("tools_without_parameters", [user("Time?")], {"tools": [MINIMAL]}),
    ("tools_without_type", [user("?")], {"tools": [NO_TYPE]}),
    ("tools_only_type", [user("?")], {"tools": [ONLY_TYPE]}),
    ("tools_response", [user("?")], {"tools": [RESPONDS, RESPONDS_TEXT]}),
    ("tools_many", [user("?")], {"tools": [WEATHER, NESTED, MINIMAL, RESPONDS]}),
    ("call_unanswered", TOOL_TALK, {"tools": [WEATHER]}),
    ("call_arguments", [user("?"), assistant(tool_calls=[call("f", ARGUMENTS)])]),
    ("call_no_arguments", [user("?"), assistant(tool_calls=[call("f", {})])]),
    ("call_null_arguments", [user("?"), assistant(tool_calls=[call("f", None)])]),
    ("call_sorts_keys", [user("?"), assistant(tool_calls=[call("f", {"b": 1, "A": 2, "a": 3, "_": 4, "É": 5, "é": 6, "z": 7, "Ж": 8, "ж": 9})])]),
    ("calls_two", [user("?"), assistant(tool_calls=[call("f", {"x": 1}, "1"), call("g", {"y": "2"}, "2")])]),
    ("call_with_content", [user("?"), assistant(" Let me look. ", tool_calls=[call("f", {"x": 1})])]),
    ("call_with_reasoning", [user("?"), assistant("", reasoning="I need f.", tool_calls=[call("f", {"x": 1})])]),
    ("result_text", TOOL_TALK + [tool('{"t":20}', tool_call_id="c1")], {"tools": [WEATHER]}),
    ("result_thinking", TOOL_TALK + [tool("20", tool_call_id="c1")], {"thinking": True}),
    ("result_no_prompt", TOOL_TALK + [tool("20", tool_call_id="c1")], {"add_generation_prompt": False}),
    ("result_by_name", TOOL_TALK + [tool("20", name="other", tool_call_id="unknown_id")]),
    ("result_unknown", TOOL_TALK + [tool("20", tool_call_id="unknown_id")]),
    ("result_without_ids", [user("?"), assistant(tool_calls=[call("f", {}), call("g", {})]), tool("1"), tool("2")]),
    ("results_two", [user("?"), assistant(tool_calls=[call("f", {}, "1"), call("g", {}, "2")]),
                     tool("two", tool_call_id="2"), tool("one", tool_call_id="1")]),
    ("result_parts", TOOL_TALK + [tool([text(" a "), text("b"), IMAGE], tool_call_id="c1")]),
    ("result_image_only", TOOL_TALK + [tool([IMAGE], tool_call_id="c1")]),
    ("result_null", TOOL_TALK + [tool(None, tool_call_id="c1")]),
    ("result_number", TOOL_TALK + [tool(21.5, tool_call_id="c1")]),
    ("result_empty", TOOL_TALK + [tool("", tool_call_id="c1")]),
    ("result_then_answer", TOOL_TALK + [tool("20", tool_call_id="c1"), assistant("It is 20.")]),
    ("result_then_answer_then_user", TOOL_TALK + [tool("20", tool_call_id="c1"), assistant("It is 20."), user("Thanks")],
     {"tools": [WEATHER]}),
    ("result_then_user", TOOL_TALK + [tool("20", tool_call_id="c1"), user("Well?")]),
    ("result_with_content_before", [user("?"), assistant("Looking.", tool_calls=[call("f", {}, "1")]), tool("r", tool_call_id="1")]),
    ("result_then_call_then_result", TOOL_TALK + [tool("20", tool_call_id="c1"),
     assistant(tool_calls=[call("get_weather", {"city": "Oslo"}, "c2")]), tool("5", tool_call_id="c2")]),
    ("tool_loop_thinking", TOOL_TALK[:1] + [assistant(reasoning="first", tool_calls=[call("f", {}, "1")]), tool("1", tool_call_id="1"),
     assistant(reasoning="second", tool_calls=[call("f", {}, "2")]), tool("2", tool_call_id="2")], {"thinking": True}),
    ("tool_history_reasoning_dropped", TOOL_TALK[:1] + [assistant(reasoning="r", tool_calls=[call("f", {}, "1")]),
     tool("1", tool_call_id="1"), assistant("One."), user("Again?")]),
    ("tool_history_reasoning_preserved", TOOL_TALK[:1] + [assistant(reasoning="r", tool_calls=[call("f", {}, "1")]),
     tool("1", tool_call_id="1"), assistant("One."), user("Again?")], {"preserve_thinking": True}),
    ("responses_mapping", [user("?"), assistant(tool_calls=[call("f", {"x": 1})], tool_responses=[
        {"name": "f", "response": {"t": 20, "Unit": "c", "nested": {"b": [1, None], "a": "x"}}}])]),
    ("responses_text", [user("?"), assistant(tool_calls=[call("f", {"x": 1})], tool_responses=[{"name": "f", "response": "20"}])]),
    ("responses_list", [user("?"), assistant(tool_calls=[call("f", {})], tool_responses=[{"name": "f", "response": [1, "a", True]}])]),
    ("responses_unnamed", [user("?"), assistant(tool_calls=[call("f", {})], tool_responses=[{"response": 5}])]),
    ("responses_without_calls", [user("?"), assistant("So.", tool_responses=[{"name": "f", "response": {}}]), user("?")]),
    ("responses_and_content", [user("?"), assistant(" So. ", tool_calls=[call("f", {})], tool_responses=[{"name": "f", "response": "x"}])]),
    ("everything", [system([text("Sys")]), user([IMAGE, text("Look"), AUDIO]), assistant("<|channel>t<channel|>A", reasoning="x"),
     user("Go"), assistant("Calling", reasoning="why", tool_calls=[call("plan", ARGUMENTS, "p")]),
     tool([text("done"), IMAGE], tool_call_id="p"), assistant("Fine."), assistant("Bye.")],
     {"tools": [WEATHER, NESTED, MINIMAL], "thinking": True, "preserve_thinking": True}),
]


def conversations():
    for name, messages, *options in CASES:
        yield {"name": name, "messages": messages, **(options[0] if options else {})}
