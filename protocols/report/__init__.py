"""What clients are told of a screening: whom it excluded, by which test, and why, in words.

recorded   saved statistics and states: JSON in, verdicts out
page       one self-contained HTML file
plot       the figures of a test over rounds, against its threshold; needs the extra `report`
terminal   the same for a terminal
"""
