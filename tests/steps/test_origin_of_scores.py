"""No subject that has trained a network is used to judge it."""

import pytest

from multires_tf import assembly, errors
from multires_tf.data import checksums
from multires_tf.learn import checkpoints
from multires_tf.steps import calibrate, evaluate


@pytest.mark.parametrize(("split", "verb"), [("validation", calibrate), ("test", evaluate)])
def test_a_subject_that_trained_is_refused(known_run, split, verb):
    folder = known_run.folder
    moved = assembly.subjects(folder, split)[0]
    position = {"subjects": {"training": [checksums.of_text(moved)], "validation": []}}
    checkpoints.save(assembly.best(folder), [], position)
    with pytest.raises(errors.UserError, match=f"{moved} in split '{split}' has trained"):
        verb.run(workdir=folder.root)
