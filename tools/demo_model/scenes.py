"""Draws the demo model's pictures: a few emoji on a coloured ground, with the truth about them.

Owns: the list of things, the ground colours, where things may stand, and the wording of a caption.
Promises: scene(seed) is a pure function of its seed (and of the installed font), every caption
follows one grammar, and every picture is a whole number of 48-pixel patches wide and high, so
that the image processor's resize leaves it alone at a budget of 70 soft tokens.
Held-out seeds are 0..999,999; training only ever uses seeds from 1,000,000,000 up.
"""
import io
import random
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
from PIL import Image, ImageDraw, ImageFont

FONT = "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"
NAMES = "/usr/share/unicode/cldr/common/annotations/en.xml"
PATCH = 48
GRIDS = [(8, 8), (9, 7), (7, 9), (10, 7), (7, 10)]  # columns, rows; all fill a budget of 70
# Longer side of a thing in pixels, by how many there are. The loose rule mixes sizes and lets things
# stand closer: training begins with it, and examples/scenes is drawn by it to be a harder test.
SIZES = {1: [152, 208], 2: [152], 3: [112]}
LOOSE_SIZES = {1: [112, 152, 208], 2: [112, 152, 112, 152, 208], 3: [112, 112, 112, 152]}
STEP, JITTER = 24, 3                                # centres lie on this lattice, give or take
TURNS = [0, 0, 0, 0, 0, -8, 8]                      # degrees

# Left: the short name in Unicode CLDR. Right, if it differs: what our captions call the thing.
THINGS = """
dog face=dog|cat face=cat|rabbit face=rabbit|fox|panda|
tiger face=tiger|lion|pig face=pig|frog|monkey face=monkey|penguin|owl|
unicorn|honeybee=bee|butterfly|snail|lady beetle=ladybird|spider|turtle|snake|octopus|crab|
tropical fish=fish|spouting whale=whale|shark|elephant|rooster|flamingo|parrot|hedgehog|
cactus|palm tree|four leaf clover=clover|maple leaf|mushroom|tulip|rose|sunflower|
red apple|pear|lemon|banana|watermelon|grapes=bunch of grapes|strawberry|pineapple|eggplant|
avocado|carrot|croissant|hamburger|pizza=slice of pizza|
taco|doughnut|cookie|birthday cake|cupcake|lollipop|popcorn=box of popcorn|ice cream|
hot beverage=cup of coffee|beer mug|wine glass|soccer ball=football|basketball|tennis=tennis ball|
guitar|trumpet|bicycle|automobile=car|bus|ambulance|fire engine|tractor|airplane|rocket|
helicopter|sailboat|house|castle|tent|watch|telephone|camera|light bulb|
hammer|key|scissors=pair of scissors|pencil|books=stack of books|envelope|balloon|
wrapped gift=gift|umbrella|crown|top hat|t-shirt|running shoe|sun|snowman|fire=flame|droplet|star|
crescent moon|rainbow|snowflake|bell|hourglass done=hourglass|bomb|trophy
"""
COLOURS = {
    "red": (214, 62, 56), "orange": (240, 146, 58), "yellow": (246, 214, 90),
    "green": (84, 168, 90), "turquoise": (70, 190, 186), "blue": (70, 114, 214),
    "purple": (138, 90, 186), "pink": (246, 168, 200), "white": (248, 248, 248),
    "black": (30, 30, 30),
}
COLOUR_NAMES = list(COLOURS)


def _thing_table():
    rows = [row.partition("=") for row in THINGS.replace("\n", "").split("|")]
    return [(cldr, ours or cldr) for cldr, _, ours in rows]


NAME_OF = [ours for _, ours in _thing_table()]


def _label_words():
    """For each thing the word that tells it from all others; the last such word of its name."""
    count = {}
    for name in NAME_OF:
        for word in name.split():
            count[word] = count.get(word, 0) + 1
    labels = [[w for w in name.split() if count[w] == 1 and w != "of"][-1] for name in NAME_OF]
    assert len(set(labels)) == len(labels)
    return labels


LABEL_OF = _label_words()


def with_article(name):
    vowel = name[0] in "aeio" or name.startswith(("um", "hour"))
    return ("an " if vowel else "a ") + name


class Thing:
    """One placed thing: which, its centre, its box size and the turn it is drawn at."""

    def __init__(self, kind, x, y, size, turn):
        self.kind, self.x, self.y, self.size, self.turn = kind, x, y, size, turn


class Layout:
    """What a scene holds before it is drawn."""

    def __init__(self, grid, colour, things):
        self.grid, self.colour, self.things = grid, colour, things
        self.count = len(things)

    def caption(self):
        ground = "on " + with_article(self.colour + " background.")
        names = [with_article(NAME_OF[t.kind]) for t in self.things]
        if self.count == 1:
            return f"{names[0]} {ground}"
        if self.count == 2:
            (a, b), (first, second) = self.things, names
            if abs(a.x - b.x) > abs(a.y - b.y):
                if a.x > b.x:
                    first, second = second, first
                return f"{first} to the left of {second} {ground}"
            if a.y > b.y:
                first, second = second, first
            return f"{first} above {second} {ground}"
        order = sorted(range(3), key=lambda i: self.things[i].x)
        first, second, third = (names[i] for i in order)
        return f"{first}, {second} and {third} {ground}"


class Sprites:
    """The emoji as pictures, cut to their ink, scaled and turned on demand and then kept."""

    def __init__(self):
        root = ElementTree.parse(NAMES).getroot()
        code = {a.text.strip().lower(): a.get("cp")
                for a in root.iter("annotation") if a.get("type") == "tts"}
        font = ImageFont.truetype(FONT, 109)
        self.base, self.mean, self.kept = [], [], {}
        for cldr, _ in _thing_table():
            canvas = Image.new("RGBA", (160, 160), (0, 0, 0, 0))
            ImageDraw.Draw(canvas).text((8, 8), code[cldr], font=font, embedded_color=True)
            ink = canvas.crop(canvas.getbbox())
            pixels = np.asarray(ink, np.float32)
            alpha = pixels[..., 3:] / 255
            assert alpha.sum() > 500, cldr
            self.base.append(ink)
            self.mean.append((pixels[..., :3] * alpha).sum((0, 1)) / alpha.sum())

    def get(self, kind, size, turn):
        key = kind, size, turn
        if key not in self.kept:
            ink = self.base[kind]
            factor = size / max(ink.size)
            small = ink.resize((round(ink.width * factor), round(ink.height * factor)), Image.BICUBIC)
            if turn:
                small = small.rotate(turn, Image.BICUBIC, expand=True)
                small = small.crop(small.getbbox())
            self.kept[key] = small
        return self.kept[key]

    def stands_out(self, kind, colour):
        return np.abs(self.mean[kind] - COLOURS[colour]).sum() > 90


_sprites = None
_noise = None


def sprites():
    global _sprites
    if _sprites is None:
        _sprites = Sprites()
    return _sprites


def _clear(thing, others, gap):
    """True when the thing keeps its distance from the others."""
    for other in others:
        reach = (thing.size + other.size) / 2 + gap
        if abs(thing.x - other.x) < reach and abs(thing.y - other.y) < reach:
            return False
    return True


def _readable(things, loose):
    """True when the caption's left/above and left-to-right order cannot be argued about."""
    if len(things) == 2:
        dx, dy = abs(things[0].x - things[1].x), abs(things[0].y - things[1].y)
        return max(dx, dy) >= (1.5 if loose else 2) * min(dx, dy)
    if len(things) == 3:
        xs = sorted(t.x for t in things)
        return min(xs[1] - xs[0], xs[2] - xs[1]) >= (60 if loose else 84)
    return True


def layout(rng, count=None, crowd=False, loose=False):
    """Choose a scene. A crowd holds as many things as fit; it has no caption, only patch labels."""
    wanted = 9 if crowd else count or rng.choice([1, 1, 1, 2, 2, 2, 2, 3, 3, 3])
    while True:
        columns, rows = rng.choice(GRIDS)
        colour = rng.choice(COLOUR_NAMES)
        width, height = columns * PATCH, rows * PATCH
        things = []
        for _ in range(90 if crowd else 40):
            if len(things) == wanted:
                break
            kind = rng.randrange(len(NAME_OF))
            if any(kind == t.kind for t in things) or not sprites().stands_out(kind, colour):
                continue
            size = rng.choice((LOOSE_SIZES if loose else SIZES)[min(wanted, 3)])
            low = size // 2 + 6
            x = STEP * rng.randint(-(-low // STEP), (width - low) // STEP)
            y = STEP * rng.randint(-(-low // STEP), (height - low) // STEP)
            thing = Thing(kind, x + rng.randint(-JITTER, JITTER), y + rng.randint(-JITTER, JITTER),
                          size, rng.choice(TURNS))
            if _clear(thing, things, 2 if crowd else 8):
                things.append(thing)
        if crowd or (len(things) == wanted and _readable(things, loose)):
            return Layout((columns, rows), colour, things)


def draw(plan, rng):
    """Paint a layout; returns an RGB picture."""
    global _noise
    columns, rows = plan.grid
    width, height = columns * PATCH, rows * PATCH
    light = rng.uniform(-9, 9)
    shade = np.array(COLOURS[plan.colour], np.float32) + light
    if plan.colour not in ("white", "black"):  # those two stay neutral
        shade = shade + [rng.uniform(-6, 6) for _ in range(3)]
    rows_of = np.broadcast_to(shade, (height, 1, 3))
    style = rng.random()
    if style < 0.4:
        rows_of = rows_of + np.linspace(-1, 1, height)[:, None, None] * rng.uniform(-18, 18)
    ground = np.broadcast_to(rows_of, (height, width, 3))
    if style > 0.8:
        if _noise is None:
            _noise = np.random.default_rng(1).normal(0, 1, (560, 560, 1)).astype(np.float32)
        down, right = rng.randrange(64), rng.randrange(64)
        ground = ground + _noise[down:down + height, right:right + width] * rng.uniform(2, 7)
    picture = Image.fromarray(np.clip(ground, 0, 255).astype(np.uint8))
    for t in plan.things:
        ink = sprites().get(t.kind, t.size, t.turn)
        picture.paste(ink, (round(t.x - ink.width / 2), round(t.y - ink.height / 2)), ink)
    return picture


def wear(picture, rng):
    """Resize there and back, and/or recompress: what a picture from elsewhere has been through."""
    what = rng.random()
    size = picture.size
    if what < 0.6:
        factor = rng.uniform(0.55, 1.5)
        other = (max(96, round(size[0] * factor * rng.uniform(0.96, 1.04))), round(size[1] * factor))
        picture = picture.resize(other, Image.BICUBIC)
    if what > 0.4:
        store = io.BytesIO()
        picture.save(store, "JPEG", quality=rng.randint(70, 95))
        picture = Image.open(store).convert("RGB")
    return picture.resize(size, Image.BICUBIC) if picture.size != size else picture


def scene(seed, count=None, loose=False):
    """The scene of a seed: (picture, layout)."""
    rng = random.Random(seed)
    plan = layout(rng, count, loose=loose)
    return draw(plan, rng), plan


def patches(picture):
    """The picture as rows of 48*48*3 bytes, row-major over the patch grid."""
    pixels = np.asarray(picture, np.uint8)
    rows, columns = pixels.shape[0] // PATCH, pixels.shape[1] // PATCH
    split = pixels.reshape(rows, PATCH, columns, PATCH, 3).transpose(0, 2, 1, 3, 4)
    return split.reshape(rows * columns, -1)


def patch_labels(plan):
    """For each patch the index of the thing kind over its middle, or -1 for the ground."""
    columns, rows = plan.grid
    labels = np.full((rows, columns), -1, np.int64)
    middle_x = np.arange(columns) * PATCH + PATCH // 2
    middle_y = np.arange(rows) * PATCH + PATCH // 2
    for t in plan.things:
        reach = t.size / 2 + 6
        hit = (np.abs(middle_y - t.y) < reach)[:, None] & (np.abs(middle_x - t.x) < reach)[None]
        labels[hit] = t.kind
    return labels.reshape(-1)


if __name__ == "__main__":  # python scenes.py sheet.png: a contact sheet of twelve held-out scenes
    sheet = Image.new("RGB", (4 * 490, 3 * 490), "white")
    for index in range(12):
        picture, plan = scene(index)
        print(index, picture.size, plan.caption())
        sheet.paste(picture, ((index % 4) * 490, (index // 4) * 490))
    sheet.resize((1470, 1102)).save(sys.argv[1])
