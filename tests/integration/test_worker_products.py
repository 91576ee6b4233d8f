"""What a worker's report and a product's PROV document say of when it was made."""

import sys
from datetime import datetime
from pathlib import Path

import orjson
import pytest

from agents.worker.engine_work import EngineWork
from agents.worker.work import Assignment
from pipeline.containers.stop import Stop
from pipeline.settings import Settings

PRODUCT = """
import json, os
os.makedirs('P'); json.dump({'version': 'v1'}, open('P/P.dataset.json', 'w'))
times = {'acquisition_start_time': '2026-01-01T09:00:00Z', 'source_production_time': '2026-01-01T11:00:00Z'}
json.dump(times, open('P/P.prod_prov.json', 'w'))
"""
RULE = {"ipath": "x::data/P", "match_pattern": "/P$", "publish": {"location": "P", "urls": ["{location}"]}}


async def test_a_report_has_the_products_latencies_and_the_product_the_time_of_its_command(tmp_path: Path) -> None:
    rules = tmp_path / "datasets.json"
    rules.write_bytes(orjson.dumps({"datasets": [RULE]}))
    worker = {"id": "w1", "slots": 1, "datasets_file": rules}
    work = EngineWork(Settings.model_validate({"home": tmp_path / "home", "worker": worker}), "w1:1:aa")
    document = {
        **{"type": "job-x:1", "job_id": "fam-1", "task_id": "0a", "payload_hash": "h", "job_info": {}},
        "params": {"_command": f"{sys.executable} -c $script", "script": PRODUCT},
    }

    async def may_publish() -> bool:
        return True

    assignment = Assignment(document=document, job_id="fam-1", attempt=1, worker="w1", holder="w1:1:aa")
    result = await work.run(assignment, Stop(), lambda _: None, may_publish)
    await work.close()
    assert result.completed, result.result
    info = result.result["job_info"]
    made = info["metrics"]["product_provenance"]
    assert (made["product_type"], made["ground_system_latency"]) == ("x::data/P", 120.0)
    begun = datetime.fromisoformat(info["time_start"])
    assert datetime.fromisoformat(made["processing_start_time"]) == begun
    available = datetime.fromisoformat(made["availability_time"])
    assert begun < available <= datetime.fromisoformat(info["time_end"])
    assert made["processing_latency"] == pytest.approx((available - begun).total_seconds() / 60)
    (prov,) = (tmp_path / "home" / "products").rglob("publish.prov_es.json")
    (activity,) = orjson.loads(prov.read_bytes())["activity"].values()
    assert activity["prov:startTime"] == info["cmd_start"]


@pytest.mark.parametrize("text", ["", "[]", '{"datasets": [{"ipath": "x"}]}'])
def test_a_wrong_rules_file_keeps_a_worker_from_starting(tmp_path: Path, text: str) -> None:
    (tmp_path / "datasets.json").write_text(text)
    worker = {"id": "w1", "datasets_file": tmp_path / "datasets.json"}
    with pytest.raises(ValueError, match=r"datasets\.json"):
        EngineWork(Settings.model_validate({"home": tmp_path / "home", "worker": worker}), "w1:1:aa")
