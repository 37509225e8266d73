"""What a setting keeps while its policies are attacked one after the other."""

from __future__ import annotations

from audit.setting import AttackConfig, prepare


def test_encodings_are_shared_and_only_those_of_two_policies_are_kept(victim, pictures):
    names = ("none", "uniform-0.8", "uniform-0.6")
    setting = prepare(
        AttackConfig(policies=names, attacks=("ridge",), victim=str(victim), data=str(pictures), images=4, auxiliary=24)
    )
    none, first, second = setting.policies
    dense = setting.encodings(none)
    assert len(dense) == len(setting.data.hers)
    for other in (first, second):
        found = setting.encodings(other)
        assert setting.encodings(other) is found and setting.encodings(none) is dense
        assert found.policy == other and len(setting.encoded) == 2
    setting.encodings(first)
    assert second not in setting.encoded and setting.encodings(second) is not found
