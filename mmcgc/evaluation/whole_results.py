"""Write the predictions of a test to a file that is whole or not there."""

from __future__ import annotations

import mmengine
from mmengine.evaluator import DumpResults
from mmengine.logging import print_log

from ..registry import METRICS
from ..whole_file import whole_file


@METRICS.register_module()
class DumpWholeResults(DumpResults):
    """MMEngine's DumpResults, except that what was there before stays if the file cannot be written in full.

    The arguments are those of DumpResults.
    """

    def compute_metrics(self, results: list) -> dict:
        with whole_file(self.out_file_path) as part:
            mmengine.dump(results, part)
        print_log(f'The predictions are in {self.out_file_path}', logger='current')
        return {}
