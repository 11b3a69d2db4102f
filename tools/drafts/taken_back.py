def test_the_choice_can_be_taken_back(boot_system: BootSystem) -> None:
    guest = boot_system()
    choose_ours(guest)
    for commands, driver in ((readme("Back to the C driver"), C), (f"{SELECT} rust", OURS)):
        guest.run(commands, timeout=900, check=True)
        guest.reboot()
        assert_root_is_served_by(guest, driver)
