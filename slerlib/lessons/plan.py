"""The lessons in their order: question, minutes, which lessons they need, and the file with their exercises."""

from dataclasses import dataclass


@dataclass(frozen=True)
class About:
    """A row of the course. module: the file of this room with the exercises. minutes: to read and try."""

    title: str
    question: str
    minutes: int
    needs: str
    module: str


COURSE = (
    About("Start here", "Can a network see what is wrong with a picture?", 20, "-", "start"),
    About("Degradations", "How is a picture damaged; can a formula undo it?", 45, "00", "degradations"),
    About("Sphere", "How does a point on a sphere become a path?", 45, "00", "sphere"),
    About("Build the model", "What are the parts, and how does a choice learn?", 45, "02", "building"),
    About("Train", "What happens in a training, step by step?", 45, "03", "training"),
    About("Evaluate", "When is one network better than another?", 50, "00", "evaluating"),
    About("Maps", "May one believe a picture of the sphere?", 35, "02", "maps"),
    About("Experts", "Which expert does what, and does it matter?", 40, "02", "usage"),
    About("Ablations", "What is each part of the method worth?", 35, "04, 05, 07", "ablations"),
    About("Many processes", "How do several processes train one network?", 45, "04", "processes"),
)
