"""Every exception iitdask raises on purpose.

One base class; each error is also the builtin a caller would expect. A message
says what is wrong, where, what was expected and what came, in one line.
"""


class IITError(Exception):
    """Base of all iitdask errors."""


class InputError(IITError, ValueError):
    """An argument, a study file or an option is not acceptable."""


class SubstrateError(InputError):
    """A transition probability matrix, connectivity or label is not acceptable."""


class StateError(InputError):
    """A state or a set of units does not fit the substrate."""


class UnreachableStateError(StateError):
    """No past state of the substrate leads to the given state."""


class SpecError(InputError):
    """A study file cannot be read as a study."""


class StoreError(IITError, OSError):
    """A store cannot be opened, read or written."""


class LedgerMismatchError(StoreError):
    """A store holds another study than the one to be run."""


class BusyStoreError(StoreError):
    """Another process is filling the store at this moment."""


class DamagedStoreError(StoreError):
    """Data in a store differ from what was written."""


class UnreachableStoreError(IITError):
    """A store on a network cannot be reached, or refuses the credentials it is given.

    Not an OSError: data that cannot be read for the moment must not count as damaged.
    """


class MemoryRefusedError(IITError, MemoryError):
    """A block needs more memory than a worker has."""


class BudgetRefusedError(IITError, RuntimeError):
    """A run would exceed its budget of core-seconds."""


class BlockFailedError(IITError, RuntimeError):
    """One or more blocks of a stage could not be computed."""


class InterruptedRunError(IITError, RuntimeError):
    """A run was interrupted from outside; its store is consistent and can be resumed."""


class RetiredError(InterruptedRunError):
    """A worker reached the end of its lifetime; blocks are left for other workers."""


class WorkerMismatchError(InputError):
    """Processes of one run have different builds of iitdask, or none."""


__all__ = [name for name, value in vars().items() if isinstance(value, type)]
