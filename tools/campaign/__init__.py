# SPDX-License-Identifier: GPL-2.0
"""Campaigns of a hostile device: `make campaign SEED=1 MINUTES=10`, see docs/campaign.md.

draw      a seed becomes rounds: what the device does, and what goes on in the guest meanwhile
rig       the device and the guest, in which a round is played
check     whether the driver works again after a round, and whether anything was reported or leaked
campaign  round after round, new guests after findings, the record
table     the runs that are kept, as tables
shrink    a round with a finding becomes a smaller one that still has it
"""
