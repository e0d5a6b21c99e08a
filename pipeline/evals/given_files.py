"""Files of tasks and pairs in a configuration: known by content, checked when it is read."""

from pipeline.corpus.filters.word_file import FileRef
from pipeline.evals.bias_pairs import GroupPair, parse_pairs
from pipeline.evals.task_file import TaskItem, parse_tasks
from pipeline.store.errors import DataError


class TaskFile(FileRef):
    """JSONL of choices, pairs and questions; see task_file.py."""

    def items(self) -> list[TaskItem]:
        """The rows; DataError names the line of a bad one."""
        return parse_tasks(self.content(), self.path)

    @classmethod
    def _digest(cls, path: str) -> str:
        try:
            parse_tasks(cls._read(path), path)
        except DataError as error:
            raise ValueError(str(error)) from error
        return super()._digest(path)


class PairFile(FileRef):
    """JSONL of sentences that differ in the group named; see bias_pairs.py."""

    def pairs(self) -> list[GroupPair]:
        """The rows; DataError names the line of a bad one."""
        return parse_pairs(self.content(), self.path)

    @classmethod
    def _digest(cls, path: str) -> str:
        try:
            parse_pairs(cls._read(path), path)
        except DataError as error:
            raise ValueError(str(error)) from error
        return super()._digest(path)
