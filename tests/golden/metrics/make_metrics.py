#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How Prometheus' own Python client reads small pages of its text format: tests/golden/metrics/pages.json.

The parser of the unit tests (tests/unit/server/exposition.c) must read them the same, and refuse what
the original refuses; then it judges the pages of the server.
"""
import json
import pathlib

from prometheus_client.parser import text_string_to_metric_families

PAGES = [
    "# HELP a_total Things.\n# TYPE a_total counter\na_total 3\n",
    "# HELP g A gauge: 50 % of it.\n# TYPE g gauge\ng -0.25\n",
    "# HELP g Two.\n# TYPE g gauge\ng{pool=\"full\"} 1\ng{pool=\"sliding\"} 2.5e3\n",
    "# HELP g Zero labels.\n# TYPE g gauge\ng{} 1\n",
    "# HELP g Escapes.\n# TYPE g gauge\ng{user=\"a\\\\b\\\"c\\nd\"} 1\n",
    "# HELP g Signs in a label.\n# TYPE g gauge\ng{user=\"a b, c=d}\",reason=\"E_BUSY\"} 1\n",
    "# HELP g Values.\n# TYPE g gauge\ng{i=\"0\"} +Inf\ng{i=\"1\"} -Inf\ng{i=\"2\"} 1e-9\ng{i=\"3\"} 0.000000001\n",
    "# HELP h Seconds.\n# TYPE h histogram\nh_bucket{le=\"0.1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 1.25\nh_count 2\n",
    "# HELP h By class.\n# TYPE h histogram\nh_bucket{class=\"batch\",le=\"1\"} 0\n"
    "h_bucket{class=\"batch\",le=\"+Inf\"} 1\nh_sum{class=\"batch\"} 3.000000000\nh_count{class=\"batch\"} 1\n",
    "g\n",
    "g one\n",
    "g{pool=\"full\" 1\n",
    "g{pool=full} 1\n",
    "g{pool} 1\n",
    "g{po-ol=\"full\"} 1\n",
    "g 0x10 junk\n",
]


def read(text):
    try:
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    except ValueError:
        return None
    series = []
    for sample in samples:
        labels = ",".join(f'{name}="{value}"' for name, value in sample.labels.items())
        series.append({"series": f"{sample.name}{{{labels}}}", "value": repr(sample.value)})
    return series


def main():
    pages = [{"text": text, "samples": read(text)} for text in PAGES]
    out = pathlib.Path(__file__).parent / "pages.json"
    out.write_text(json.dumps(pages, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
