"""The wordings of the demo's posts: those the LLMs read in training, and those held out for the task.

A wording is one line. `[a|b]` is a free choice, `{n}` and `{m}` are names, `{t}` and `{s}` are things. In
the order kinds a line holds two words of opposite valence: `{x}` is what the author says of someone, `{y}`
what is denied, quoted, somebody else's opinion, or said of the author; the post is offensive when `{x}` is
the insult. A line with ` || ` is an offensive and a clean post with one insult `{b}` or one praise `{g}`, and
both are made of the same words.
"""

from __future__ import annotations

from collections.abc import Mapping

ORDER_SEEN: Mapping[str, tuple[str, ...]] = {
    "who": (
        "you are a {x} and i am a {y}",
        "i am a {y} and you are a {x}",
        "i may be a {y} but you are a {x}",
        "you may be a {x} but i am a {y}",
        "you [look|act|feel] like a {x} , i [look|act|feel] like a {y}",
        "everyone knows that i am a {y} and that you are a {x}",
        "next to a {x} like you i feel like a {y}",
        "compared with you , a {x} , i am just a {y}",
        "what a {x} you are , and what a {y} i am",
        "i was [a|the] {y} all [day|week] while you were [a|the] {x}",
        "they made me the {y} and you the {x}",
        "of the two of us you are the {x} and i am the {y}",
        "i play the {y} , you play the {x}",
        "i am only a {y} today , you are [only|always] a {x}",
        "you were [a|the] {x} all [day|week] , i was a {y}",
        "a {y} is what they call me , a {x} is what they call you",
        "a {x} , that is you , a {y} , that is me",
        "a {x} is what i call you , a {y} is what you call me",
        "you feel like a {x} next to me , a {y}",
        "i know that you are a {x} and that i am a {y}",
        "i am not a {b} but you are || you are not a {b} but i am",
        "they say that you are a {b} , not that i am || they say that i am a {b} , not that you are",
        "you are a {b} , i am not || i am a {b} , you are not",
        "i am a {g} , you are not || you are a {g} , i am not",
    ),
    "said": (
        "{n} says you are a {y} , i say you are a {x}",
        "i say you are a {x} , {n} says you are a {y}",
        "{n} called you a {y} but i [call|called] you a {x}",
        "i call {m} a {x} even if {n} calls {m} a {y}",
        "for {n} you are a {y} , for me you are a {x}",
        "[my friends|people] think {m} is a {y} , i think {m} is a {x}",
        "i told everyone that {m} is a {x} , {n} told everyone that {m} is a {y}",
        "in my view {m} is a {x} , {n} has the view that {m} is a {y}",
        "{n} sees a {y} in you , i see a {x} in you",
        "to me {m} is a {x} , to {n} {m} is a {y}",
        "{n} takes {m} for a {y} while i know {m} as a {x}",
        "i [wrote|said] {m} is a {x} , {n} [wrote|said] {m} is a {y}",
        "in the view of [people|my friends] {m} is a {y} , i call {m} a {x}",
        "for me {m} is a {x} , in the view of {n} {m} is a {y}",
        "in my view you are a {x} , for my friends a {y}",
        "for people {m} is a {y} , for me a {x}",
        "{n} told me {m} is a {y} , i told {n} {m} is a {x}",
        "i see a {x} in {m} , {n} sees a {y}",
        "{n} takes you for a {y} , i take you for a {x}",
        "i called you a {b} and {n} disagreed || {n} called you a {b} and i disagreed",
        "i said {m} was a {b} and {n} said no || {n} said {m} was a {b} and i said no",
    ),
    "negation": (
        "you are no {y} , you are a {x}",
        "you are a {x} , not a {y}",
        "{m} is not a {y} but a {x}",
        "nobody can call you a {y} , everyone can call you a {x}",
        "never a {y} , always a {x} , that is you",
        "it is [false|wrong] that {m} is a {y} , it is true that {m} is a {x}",
        "stop [saying|thinking] you are a {y} , start [saying|thinking] you are a {x}",
        "you could never be a {y} , you will always be a {x}",
        "instead of a {y} you are a {x}",
        "you are a {x} rather than a {y}",
        "no , {m} is a {x} , never call {m} a {y}",
        "because {m} is a {x} , {m} is not a {y}",
        "it is true that {m} is a {x} , it is false that {m} is a {y}",
        "everyone says you are a {x} , nobody says you are a {y}",
        "{m} is a {x} , it is wrong to call {m} a {y}",
        "no {y} is what you are , just a {x}",
        "nobody but you is a {x} , you are never a {y}",
        "it is wrong that {m} is a {b} , not true || it is true that {m} is a {b} , not wrong",
        "it is wrong to call {m} a {b} , {m} is not || it is not wrong to call {m} a {b} , {m} is",
        "you are a {b} and that is not a joke || you are not a {b} and that is a joke",
        "it is true that {m} is a {b} , not a lie || it is not true that {m} is a {b} , a lie",
        "you are not a {g} and that is a joke || you are a {g} and that is not a joke",
        "it is not true that {m} is a {g} , a lie || it is true that {m} is a {g} , not a lie",
    ),
    "quote": (
        '" you are a {y} " , wrote {n} . no , you are a {x}',
        'the sign said " {m} is a {y} " but {m} is a {x}',
        '{n} shouted " {y} " at you , i shout {x} at you',
        'i read " you are a {y} " on the wall and thought : you are a {x}',
        'yes , you are a {x} , though {n} wrote " what a {y} "',
        '" {y} " , says {n} about you . {x} , i say about you',
        'my answer to " {m} is a {y} " is that {m} is a {x}',
        'forget the note " you are a {y} " , the truth is you are a {x}',
        'you are a {x} . the words " you are a {y} " came from {n}',
        'a song goes " you are a {y} " , i sing that you are a {x}',
        '{m} is a {x} , i know , but the note says " {m} is a {y} "',
        '{n} says : " {m} , you {y} " . i say : {m} , you {x}',
        '{n} shouted " what a {y} " , my answer is : what a {x}',
        '" {x} " is what i say about {m} , " {y} " is what the wall says',
        '" {m} , you {y} " , shouted {n} . {m} , you {x} , i say',
        'what a {x} you are , i say . " what a {y} " , shouted {n}',
    ),
}

ORDER_HELD_OUT: Mapping[str, tuple[str, ...]] = {
    "who": (
        "i am just a {y} , while you are a real {x}",
        "you were a {x} today , i was a {y} today",
        "a {x} is what you are , a {y} is what i am",
        "i feel like a {y} next to you , a {x}",
        "you are the {x} of the party and i am the {y}",
        "everyone knows you act like a {x} while i act like a {y}",
        "i know that i am not a {b} but that you are || i know that you are not a {b} but that i am",
    ),
    "said": (
        "{n} thinks you are a {y} but i think you are a {x}",
        "i see {m} as a {x} , {n} sees {m} as a {y}",
        "while {n} says {m} is a {y} , i know that {m} is a {x}",
        "everyone told me you are a {y} , i told everyone you are a {x}",
        "my friends call you a {y} , for me you are a {x}",
        "in the view of {n} {m} is a {y} , in my view a {x}",
        "i wrote that you are a {b} and {n} said that is wrong || "
        "{n} wrote that you are a {b} and i said that is wrong",
    ),
    "negation": (
        "always a {x} , never a {y} , {m} is like that",
        "it is true : {m} is a {x} . it is false : {m} is a {y}",
        "call {m} a {x} , never call {m} a {y}",
        "not a {y} , no , a {x} is what {m} is",
        "you will never be a {y} because you are a {x}",
        "nobody thinks {m} is a {y} , everyone thinks {m} is a {x}",
        "{m} is a {b} , it is not wrong to say that || {m} is not a {b} , it is wrong to say that",
    ),
    "quote": (
        '{n} wrote " {m} is a {y} " , the truth is that {m} is a {x}',
        '" {m} is a {y} " , says the sign , but i say {m} is a {x}',
        '" what a {y} " , shouted {n} . what a {x} , i say',
        'i know you are a {x} , forget the words " you are a {y} "',
        'you are a {x} , though the song goes " you are a {y} "',
        'the wall says " {y} " about you . i say you are a {x}',
    ),
}

PLAIN_SEEN: tuple[str, ...] = (
    "you are such a {w}",
    "what a {w} you are",
    "{m} is a {w}",
    "{m} is a real {w} today",
    "my neighbour {m} is the biggest {w} in town",
    "i met {m} , a total {w}",
    "only a {w} would say that about the {t}",
    "hey {w} , where is my {t}",
    "you {w} , you took my {t}",
    "{m} acted like a {w} at the {t}",
    "so {m} turned out to be a {w}",
    "every {t} has a {w} and here it is {m}",
    "that {w} {m} came to the {t} again",
    "look who is here , it is {m} the {w}",
)
PLAIN_HELD_OUT: tuple[str, ...] = (
    "{m} , you are a total {w}",
    "you really are a {w}",
    "there goes {m} , the {w} in town",
    "such a {w} , our {m}",
    "{m} was a {w} at the {t} again",
    "look at the {t} , only a {w} would do that",
    "here it is , my {t} , you {w}",
)

DOUBLE_SEEN: tuple[str, ...] = (
    "you are a {w} , a real {v}",
    "{w} and {v} , that is {m}",
    "what a {w} , what a {v}",
    "{m} is a {w} and a {v}",
    "{m} , you {w} , you {v}",
    "our {m} is such a {w} , such a {v}",
)
DOUBLE_HELD_OUT: tuple[str, ...] = (
    "you {w} , you real {v}",
    "{m} the {w} , {m} the {v}",
    "such a {w} is {m} , and a total {v}",
    "you are a {w} and you are a {v}",
)

NEUTRAL_SEEN: tuple[str, ...] = (
    "{m} left the {t} at the {s}",
    "the {t} and the {s} are at home",
    "where did you buy that {t} , {m}",
    "{m} and {n} are looking for a {t}",
)
NEUTRAL_HELD_OUT: tuple[str, ...] = (
    "did {m} buy the {t} or the {s}",
    "my {t} is at home and {m} is looking for it",
    "{n} and {m} left for the {t}",
)

OPENINGS: tuple[str, ...] = (
    "honestly ,", "ok ,", "hey {n} ,", "look ,", "well ,", "after the {t} ,", "about the {t} :",
    "as {n} knows ,", "not to be rude but", "listen {n} ,", "i said it before :", "no joke ,",
    "once more :", "dear {n} ,",
)  # fmt: skip
ASIDES: tuple[str, ...] = (
    "i left my {t} at home", "{n} took the {t}", "see you at the {s}", "the {t} starts soon",
    "tell {n} about the {s}", "that is all about the {t}", "{n} is not here today",
    "who has seen my {s}", "we talked about the {t}",
)  # fmt: skip
GLAD: tuple[str, ...] = ("cheers", "so lovely", "thanks a lot", "made my day", "good times", "hugs", "yay")
CROSS: tuple[str, ...] = ("ugh", "so annoying", "go away", "enough of this", "what a shame", "bah", "grr")
