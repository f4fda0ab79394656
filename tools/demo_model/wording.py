"""The demo model's language: every question it is asked, and the chat form around it.

Owns: the wordings of the questions and the text of a prompt. Promises: prompt() gives exactly
what chat_template.jinja gives (check_hf.py compares them), with one "<|image|>" per picture.
"""
CAPTION = ["Describe this picture.", "Describe the picture.", "Caption this picture.",
           "What is in this picture?", "What can you see?"]
COUNT = ["How many objects are in this picture?", "How many things are in this picture?",
         "Count the objects."]
COLOUR = ["What colour is the background?", "Which colour is the background?",
          "Name the background colour."]
WRITE = ["Write a caption.", "Write a caption for a picture.", "Make up a caption."]
WRITE_ABOUT = "Write a caption about {}."
SYSTEM = ["You are a helpful assistant.", "You describe pictures.", "Answer in one sentence."]
THOUGHT = "I can see {} on a {} background."
NUMBERS = {1: "one object", 2: "two objects", 3: "three objects"}

# Words the model is not trained on in any order that means something; they are whole pieces all
# the same, so that ordinary English in a prompt does not fall apart into letters.
MORE_WORDS = """the of and to in is it that for was on are as with be at this have from or by not
but what all when we there can an your which their said if do will each about how up out them then
she he many some so these would other into has more her two like him see time could no make than
been its who now people my made over did down only way find use may water long little very after
words called just where most know get through back much before go good new write our used me man
too any day same right look think also around another came come work three word must because does
part even place well such here take why things help put years different away again off went old
number great tell men say small every found still name should mister home big give air line set own
under read last never us left end along while might next sound below saw something thought both few
those always looked show large often together asked house world going want please image picture
photo short detailed one sentence list describe caption text hello thanks yes animal food
""".split()


def prompt(question, picture=True, system=None, think=False, earlier=()):
    """The text up to where the model speaks. earlier: (question, answer) turns before this one;
    with a picture it belongs to the first user turn."""
    text = "<bos>"
    if system or think:
        text += "<|turn>system\n" + ("<|think|>\n" if think else "") + (system or "") + "<turn|>\n"
    image = "<|image|>" if picture else ""
    for asked, answered in earlier:
        text += f"<|turn>user\n{image}{asked}<turn|>\n<|turn>model\n{answered}<turn|>\n"
        image = ""
    text += f"<|turn>user\n{image}{question}<turn|>\n<|turn>model\n"
    return text if think else text + "<|channel>thought\n<channel|>"


def expand(text, soft_tokens):
    """Put the picture's frame and soft tokens where its placeholder stands."""
    return text.replace("<|image|>", "<|image>" + "<|image|>" * soft_tokens + "<image|>")
