"""No subject that has trained a network is used to judge it."""

import pytest

from multires_tf.ground import errors
from multires_tf.joints import assembly
from multires_tf.learn import checkpoints
from multires_tf.steps import calibrate, evaluate


@pytest.mark.parametrize(
    ("split", "before", "verb"),
    [
        ("validation", "training", calibrate),
        ("test", "training", evaluate),
        ("test", "validation", evaluate),
    ],
)
def test_a_subject_that_trained_or_chose_is_refused(known_run, split, before, verb):
    folder = known_run.folder
    moved = assembly.subjects(folder, split)[0]
    position = {"subjects": {"training": ["p1"], "validation": ["p3"]} | {before: [moved]}}
    for checkpoint in (folder.best, folder.last):
        checkpoints.save(checkpoint, [], position)
    with pytest.raises(errors.UserError, match=f"{moved} in split '{split}' was used to train"):
        verb.run(workdir=folder.root)
