"""Every sentence a visitor can see when something is not as it should be: one per cause."""

from __future__ import annotations

from duet_core.clips import FEWEST, MOST
from duet_core.errors import DuetError

NO_PICTURE = "There is no picture yet: upload one, paste one, or take an example."
NO_QUESTION = "There is no question yet: type one, or take a suggestion."
NOT_UPLOADED = "This picture was not uploaded here: upload the file itself instead of naming a path."
NO_CLIP = "There is no clip yet: upload one, or take an example."
CLIP_NOT_UPLOADED = "This clip was not uploaded here: upload the file itself instead of naming a path."
CLIP_GONE = "This clip was deleted after half an hour, as all uploads are: upload it again."
PICTURE_GONE = "This picture was deleted after half an hour, as all uploads are: upload it again."
UNREADABLE = "The request holds a value of the wrong kind: compare it with the API page and send it again."
NOT_A_PICTURE = "This file is not a PNG, JPEG or WebP picture: save it as one of these and upload it again."
BROKEN_PICTURE = "This picture is cut off or damaged and cannot be read: export it again and upload the new file."
FAILED = "Something went wrong on our side; the page still works, so please ask again."
OUT_OF_MEMORY = (
    "This machine ran out of memory over your request: take a smaller model, fewer frames or a higher reduction, and"
    " ask again."
)
DISK_FULL = "The disk of this server is full, so your file could not be kept: try again in half an hour."
UPLOADS_FULL = "The place for uploads is full, and they are deleted after half an hour: try again later."
NO_SUCH_PAGE = "There is nothing at this address: the page, with the description of its API, is at /."
STOPPED = "Stopped: the answers so far stay on the page."
STOPPED_SERIES = "Stopped: what is finished stays on the page."
COMPARE_INTRO = (
    "The picture or clip and the question on the left, once for each method at the budget of the slider. All tokens,"
    " random and uniform always run along."
)
SWEEP_INTRO = (
    "The picture or clip, question and method on the left at budgets from all tokens down to 5 %, then a bisection for"
    " the smallest budget whose answer is unchanged."
)
TWO_INTRO = (
    "The picture or clip on the left with the question there, A, and another one, B, at one budget: which patches the"
    " model still looks at depends on the words."
)
SCORE_INTRO = (
    "Scenes that nobody has seen before are drawn now, and their questions have known answers: each method answers them"
    " all at each budget, all tokens run along. The model is the one on the left; the picture there is not used."
)
FRESH_SCENES = "In small print 95 % intervals, by bootstrap over scenes. The scenes were drawn for this run."
FEW_SCENES = "So few scenes make these intervals too narrow."
EXAM_OVER = "Done: every question is answered."
PAPERS_OWN = (
    "What the authors publish for 7B models on their own benchmarks, as a share of the accuracy with all tokens;"
    " “Trained” is after training with DUET. Other models, other questions: nothing here was measured by this page."
)
NO_METHODS = "There is no method to examine: choose at least one."
FROM_LINK = "The settings of the link are in place: press Ask to run them."
UPLOAD_NOT_IN_LINK = "The picture or clip is not part of the link: uploads stay here. It restores all else."
LINK_WITHOUT_UPLOAD = (
    "This link was made beside an upload, which links never include: upload the picture or clip, then press Ask."
)
COPY_BY_HAND = "Copied, if your browser allows it; else select it here."
RUN_FORGOTTEN = "This page was idle while many others came, and its last run is forgotten; ask again, then export."
BUNDLING = "Drawing the maps and packing the bundle ..."
BUNDLE_READY = "One zip file; it is deleted here after half an hour."
ONE_RUN_EACH = (
    "One run of each after a warm-up, times of this machine; the first token includes the vision encoder, which ran"
    " once for all. Press Ask for interleaved runs with their spread."
)
SAME_QUESTIONS = "Questions A and B are the same: change one of them to see a difference."
NOTHING_TO_SWEEP = "This method keeps all tokens at every budget, so there is nothing to sweep: choose another one."
NO_REFERENCE = "There is no answer with all tokens to compare with, so the sweep ended here."
BISECTED = (
    "Found by bisection, which takes for granted that an answer that holds at one budget holds at every larger one;"
    " answers need not be monotonous, and only the budgets listed here were tried."
)
NO_SCORES_OF_WORDS = "Both questions kept the same patches: this method does not listen to the words, or not here."
MEASURED_NOW = "Measured just now on the machine that serves this page."
KNOWS = (
    "duet-mini was trained on drawn scenes only: it knows some sixty things, shapes, colours, places and numbers, and"
    " is taught to say that it does not know about photos and anything else."
)
KNOWS_CLIPS = (
    "duet-mini was trained on drawn clips of eight frames: it knows what moves which way, what appears, disappears or"
    " flashes, and in which order."
)
FOR_PHOTOS = " For those, type the hub name of a LLaVA model into the model menu."
WHAT_IS_RUNNING = {
    "opening": "Opening the model ...",
    "decoding": "Reading the clip ...",
    "encoding": "Looking ...",
    "full": "Answering with all tokens ...",
    "reduced": "Answering with fewer tokens ...",
    "measuring": "Timing both, in turn ...",
    "examining": "Drawing scenes ...",
}


def answers_took(milliseconds: float) -> str:
    """How long the model worked on both answers of a run, once, as they streamed; nothing for what was known before."""
    return f" Both answers took the model {milliseconds:,.0f} ms in this run."


def of_your_gpu_time(seconds: int) -> str:
    """What a question will take of a visitor's quota, said before it is asked."""
    return f", about {seconds} s of your GPU time"


def downloading(done: int, total: int) -> str:
    """So many bytes of a model are here."""
    return f"Downloading the model: {done / 1e9:.1f} of {total / 1e9:.1f} GB ..."


def picture_file_too_large(megabytes: float, limit: int) -> str:
    """The file is too heavy to read."""
    return f"This file has {megabytes:.0f} MB and the limit is {limit} MB: save it smaller and upload it again."


def picture_too_large(width: int, height: int, megapixels: int, longest: int) -> str:
    """The picture has too many pixels."""
    return (
        f"This picture is {width:,} x {height:,} pixels and the limit is {megapixels} megapixels with no side above"
        f" {longest:,}: scale it down and upload it again."
    )


def picture_far_too_large(megapixels: int) -> str:
    """The picture has so many pixels that its reader stops at the header."""
    return f"This picture has far more than the {megapixels} megapixels allowed: scale it down and upload it again."


def picture_too_small(width: int, height: int, shortest: int) -> str:
    """The picture has too few pixels to show anything."""
    return (
        f"This picture is {width} x {height} pixels and each side needs at least {shortest}: there would be nothing"
        " to see, so choose a larger one."
    )


def not_a_frame_count(value: object, most: int = MOST) -> str:
    """The number of frames is no number, or out of range."""
    return f"The number of frames is {shortened(value)} and must be a whole number from {FEWEST} to {most}: correct it."


def run_too_long(seconds: float) -> str:
    """A run took more time than a visitor may have the model for."""
    return (
        f"This took longer than the {seconds:,.0f} seconds that one request may take here, so it was ended: take a"
        " smaller model, fewer frames or shorter answers."
    )


def queue_full(limit: int) -> str:
    """As many runs are waiting as may wait."""
    return f"There are already {limit} runs waiting, which is the limit: try again in a minute."


def one_at_a_time(limit: int) -> str:
    """A visitor's own earlier run is not over."""
    runs = "another run of yours is" if limit == 1 else f"{limit} runs of yours are"
    return f"{runs.capitalize()} still waiting or going on: wait for it, or press Stop there, then ask again."


def request_too_large(limit: float) -> str:
    """A request has more bytes than any that the page or a client of the API would send."""
    return f"This request is larger than the {limit:,.4g} MB allowed: send less, and files by uploading them."


def shortened(value: object, longest: int = 60) -> str:
    """Quote a value that somebody sent, cut short."""
    text = repr(value)
    return text if len(text) <= longest else f"{text[:longest]}..."


def unknown_frame_rule(name: str, known: tuple[str, ...]) -> str:
    """There is no such way to choose frames."""
    return f"There is no way to choose frames called {name!r}: take one of {', '.join(known)}."


def question_too_long(length: int, limit: int) -> str:
    """The question has too many characters."""
    return f"This question has {length:,} characters and the limit is {limit:,}: shorten it."


def reduction_out_of_range(value: object) -> str:
    """The reduction is no percentage that a plan can have."""
    return f"The reduction is {shortened(value)} and must be a percentage from 0 to 95: move it into that range."


def unknown_method(name: str, known: tuple[str, ...]) -> str:
    """There is no method of this name."""
    return f"There is no method {name!r}: choose one of {', '.join(known)}."


def unknown_model(name: str, known: tuple[str, ...], hub: bool) -> str:
    """There is no model of this name that a visitor may open."""
    hint = ", or type a hub name like owner/model" if hub else ""
    return f"There is no model {name!r} here: choose {' or '.join(known)}{hint}."


def not_numbers(name: str, text: str, example: str) -> str:
    """A field of the exact numbers holds something else."""
    return f"The {name} field holds {text!r}, which is not a list of numbers: write it like {example}."


def not_a_count(name: str, value: object, least: int) -> str:
    """A field of the exact numbers is empty or below its least value."""
    return f"The {name} field holds {shortened(value)} and must be a whole number from {least} on: correct it."


def not_method_names(value: object) -> str:
    """The methods to compare came in another shape."""
    return f"The methods are {str(value)[:60]!r} and must be a list of names, like ['duet']: send such a list."


def not_for_this(title: str, clip: bool) -> str:
    """A method that knows no clips, or no pictures."""
    own, other = ("a clip", "a picture") if clip else ("a picture", "a clip")
    return f"{title} is not made for {own}: ask it about {other}, or take another method."


def nearest_reached(reached: float, wanted: float) -> str:
    """A method that cannot meet the budget."""
    return f"Could not meet the budget of {wanted:,.0f} tokens on average: {reached:,.0f} is the nearest it reached."


def in_turn(title: str, number: int, total: int) -> str:
    """Which answer of a series is being given."""
    return f"{title}, {number} of {total} ..."


def bisecting(kept: int) -> str:
    """A step of the bisection."""
    return f"Bisecting: {kept} % of the tokens ..."


def finished_series(many: int, failed: int) -> str:
    """A series is over."""
    rest = f"; {failed} could not be given" if failed else ""
    return f"Done: {many} {'answer' if many == 1 else 'answers'}{rest}."


def smallest_found(kept: int, tokens: float, full: int) -> str:
    """What a sweep found."""
    if tokens >= full:
        return "Only all tokens give this answer: every smaller budget that was tried changed it."
    return f"The answer is unchanged down to {kept} % of the tokens ({tokens:,.0f} of {full:,} on average)."


def came_back(kept: tuple[int, ...]) -> str:
    """Proof that a bisection could not know everything."""
    each = ", ".join(f"{percent} %" for percent in kept)
    return f"It came back at {each}, below budgets that changed it: here answers are not monotonous."


def counted(questions: int, scenes: int, subject: str) -> str:
    """How much an exam has asked."""
    return f"{questions:,} questions about {scenes:,} {subject if scenes > 1 else subject.rstrip('s')} to each."


def examining(who: str, done: int, total: int) -> str:
    """Who is answering, and how far the exam is."""
    return f"{who}: {done:,} of {total:,} answers ..."


def out_of_time(seconds: float) -> str:
    """An exam that was cut short."""
    return (
        f"Stopped after {seconds:.0f} seconds, since others wait for the model: what was counted so far is shown;"
        " choose fewer questions, methods or budgets for the rest."
    )


def stored_run(day: str) -> str:
    """What a stored run is."""
    return f"Recorded on {day} and stored with the model; not measured now."


def no_stored_run(subject: str) -> str:
    """There is nothing to stand beside the live run."""
    return f"No full run about {subject} is stored with the model."


def unknown_exam(name: str, known: tuple[str, ...]) -> str:
    """There is no such exam."""
    return f"There is no exam called {name[:60]!r}: take {' or '.join(known)}."


def no_budgets(known: tuple[str, ...]) -> str:
    """No reduction was chosen, or none that is offered."""
    return f"There is no reduction to examine: choose some of {', '.join(known)}."


def not_so_many_questions(value: object, least: int, most: int) -> str:
    """The number of questions is out of range."""
    return f"The number of questions is {str(value)[:20]} and must be from {least} to {most}: move it into that range."


def no_such_example(name: str) -> str:
    """A link names an example that is none."""
    return f"The link asks for the example {name!r}, which is none of ours: here is the first one."


def bad_in_link(name: str, text: str) -> str:
    """A link holds a value that cannot be read."""
    return f"The link's value for {name} is {text!r}, which cannot be read: the default stays."


def kept_for_whom(only_a: int, only_b: int, both: int, neither: int) -> str:
    """What two questions kept."""
    return f"{only_a:,} patches kept for A only, {only_b:,} for B only, {both:,} for both, {neither:,} for neither."


def shared_patches(share: float) -> str:
    """How much two questions have in common."""
    return f"Of all patches kept for A or B, {100 * share:.0f} % were kept for both."


def sentence(error: Exception) -> str:
    """Return what a visitor reads about an error: the engine's own sentence, or that the fault is ours."""
    return str(error) if isinstance(error, DuetError) else FAILED
