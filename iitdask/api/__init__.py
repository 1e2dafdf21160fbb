"""Public functions of iitdask: analyse a system, find complexes, explain a transition, sweep.

Each builds a job from its arguments, a problem or a sweep, and runs it. The keyword
arguments ``client``, ``workers``, ``store``, ``cache`` and ``progress`` mean the same everywhere
and are described at :func:`iitdask.sia`. Nothing is printed unless ``progress=True``; a call that
will take more than ten minutes or most of the memory gives a
:class:`~iitdask.errors.LargeRunWarning`.
"""

from iitdask.view.accessor import register

register()  # results show themselves in notebooks
