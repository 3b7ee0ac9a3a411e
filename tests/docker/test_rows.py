"""Every way a flow takes through a Docker host, and the tests that run it against judges who share no code with natop.

The judges are conntrack(8), docker inspect, ss(8), ip(8), and the bytes that each client sends. What this lab cannot
have is built as the feature builds it: entries put into the kernel's table for protocols without sockets here (SCTP,
GRE, UDP-Lite) and for what IPVS leaves in swarm's ingress sandbox; ipvlan, which this kernel refuses, by the engine's
fields alone (tests/unit/test_inventory.py).
"""

from __future__ import annotations

from types import ModuleType

import pytest

from tests.docker import (
    test_faults,
    test_join,
    test_owners,
    test_owners_gone,
    test_owners_hairpin,
    test_owners_host,
    test_owners_namespaces,
    test_owners_proxy,
    test_owners_swarm,
    test_podman,
    test_rootless,
)

ROWS: dict[str, dict[ModuleType, tuple[str, ...]]] = {
    "outside → published port": {
        test_owners: ("outside_to_a_published_port",),
        test_owners_hairpin: ("outside_to_a_published_port",),
    },
    "container → outside": {
        test_owners: (
            "container_to_outside",
            "two_containers_that_want_one_nat_source_port",
            "the_network_that_a_flow_left_by",
        )
    },
    "container → container by name, bridged or unseen": {
        test_owners: ("container_to_container_by_name", "bridged_flows_that_are_not_in_the_table")
    },
    "container, host or outside → docker-proxy": {
        test_owners_proxy: (
            "every_client_s_two_halves",
            "clients_beyond_the_host",
            "a_host_network_container_is_the_client_of_both_halves",
            "closed_ones_are_remembered_and_else_honest",
            "closed_before_anybody_looked",
            "clients_at_the_same_instant",
            "udp_through_docker_proxy",
            "udp_that_is_answered_from_another_address_than_was_called",
            "a_process_that_anybody_calls_docker_proxy",
        ),
    },
    "hairpin": {
        test_owners_hairpin: ("a_container_to_its_own_published_port", "a_container_to_a_neighbour_s_published_port")
    },
    "host → 127.0.0.1 and its own address": {
        test_owners_proxy: ("host_to_its_own_published_ports", "host_to_a_container_with_ipv6"),
        test_owners_hairpin: ("the_host_to_a_published_port",),
    },
    "the host's network: containers, processes, closed sockets": {
        test_owners_host: (
            "two_host_network_containers_and_a_process_of_the_host",
            "host_network_containers_and_their_neighbours",
            "what_was_closed_before_the_engine_answered",
            "udp_of_a_process_of_the_host",
            "udp_of_a_host_network_container",
            "a_port_that_nobody_listens_on",
            "sockets_are_read_once_a_refresh_where_flows_need_them",
        )
    },
    "--network container:X": {
        test_owners_host: (
            "a_container_in_another_s_namespace",
            "flows_of_a_joined_container_are_not_stale_when_others_come",
        )
    },
    "--network none, macvlan": {
        test_owners_namespaces: ("a_container_without_network_has_no_numbers", "macvlan_is_not_in_this_table")
    },
    "UDP, ICMP, SCTP, GRE, IPv6 with NAT and routed": {
        test_owners: (
            "udp_to_a_published_port",
            "ping_within_and_from_the_host",
            "other_protocols",
            "ipv6_with_nat",
            "routed_without_nat",
        )
    },
    "containers that stopped, were made anew, swapped addresses": {
        test_owners_gone: (
            "a_stopped_container_s_flows",
            "a_stopped_container_on_the_host_s_network",
            "an_address_that_is_another_s_now",
            "flows_older_than_the_container",
            "recreated_under_its_own_name",
            "containers_that_swap_addresses_between_two_readings",
            "a_container_that_started_again_between_two_readings",
            "a_flow_that_is_seen_before_its_container",
        ),
        test_faults: ("a_udp_mapping_to_a_container_that_was_made_anew",),
    },
    "containers' own tables, and embedded DNS": {
        test_owners_namespaces: (
            "containers_own_tables",
            "a_container_of_the_default_bridge_tracks_nothing_itself",
            "embedded_dns_from_inside",
            "in_a_container_s_namespace_the_others_are_dashes",
        )
    },
    "swarm": {
        test_owners_swarm: (
            "containers_on_an_overlay_network",
            "an_overlay_network_without_a_way_out",
            "what_comes_in_by_the_ingress",
            "the_sandbox_of_the_ingress_is_listed_and_read",
            "a_task_calls_out_by_the_gateway_bridge",
        )
    },
    "rootless Docker": {
        test_rootless: (
            "docker_s_nat_is_elsewhere_and_natop_says_how_to_get_there",
            "docker_s_published_ports_have_lost_their_client",
            "docker_s_sandboxes_where_only_the_engine_sees_them",
        )
    },
    "Podman, rootless or not": {
        test_podman: (
            "the_inventory",
            "flows_of_every_kind",
            "a_container_on_the_host_s_network",
            "podman_s_name_server",
            "a_pod",
            "containers_come_and_go",
            "the_nat_rules",
            "a_container_s_own_namespace",
        ),
        test_rootless: (
            "podman_s_nat_is_elsewhere_and_natop_says_how_to_get_there",
            "podman_s_sandboxes_where_only_podman_sees_them",
            "podman_s_container_on_no_network",
        ),
    },
    "other namespaces": {
        test_owners_namespaces: (
            "a_sandbox_by_path",
            "the_engine_s_sandboxes_are_listed_and_can_be_read",
            "by_name_and_by_process",
        )
    },
    "a host's own flow that a null binding moved": {test_owners: ("a_host_s_own_flow_whose_port_is_taken",)},
    "containers that come and go": {test_owners_gone: ("the_live_feed_follows_within_one_refresh",)},
    "what nobody owns is counted": {
        test_owners: ("every_container_s_numbers_are_the_judge_s",),
        test_owners_host: ("what_is_unowned_is_counted",),
        test_join: ("what_belongs_to_nobody",),
    },
    "names that Docker allows": {test_owners: ("names_that_docker_allows",)},
    "the path in one line": {
        test_owners: ("the_path_of_every_flow_in_one_line",),
        test_owners_proxy: ("clients_beyond_the_host",),
    },
    "all ways at once": {test_join: ("client_server_and_kind_of_every_flow", "a_path", "the_network_of_every_flow")},
}


@pytest.mark.parametrize("row", ROWS)
def test_a_row_has_its_tests(row: str) -> None:
    for module, names in ROWS[row].items():
        for name in names:
            test = getattr(module, f"test_{name}")
            assert not getattr(test, "pytestmark", None) or not {"skip", "skipif", "xfail"} & {
                mark.name for mark in test.pytestmark
            }


def test_no_test_of_owners_is_without_a_row() -> None:
    of_owners = (
        test_owners,
        test_owners_gone,
        test_owners_hairpin,
        test_owners_host,
        test_owners_namespaces,
        test_owners_proxy,
        test_owners_swarm,
        test_podman,
        test_rootless,
    )
    for module in of_owners:
        told = {f"test_{name}" for row in ROWS.values() for name in row.get(module, ())}
        assert {name for name in vars(module) if name.startswith("test_")} - told == set(), module.__name__
