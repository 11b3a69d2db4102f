    def hibernate(self) -> None:
        """Switches itself off with its memory on the disk, and goes on when the machine is started again."""
        self.assert_clean_log()
        self.spawn("systemctl hibernate")
        try:
            self.machine.process.wait(self._boot_timeout)
        except subprocess.TimeoutExpired:
            raise self.failure(GuestTimeout, "the system has not switched itself off") from None
        self.machine.end()
        self.machine.console.rename(self.machine.console.with_name("console-before.log"))
        self._new_machine()
        self.machine.connect()
        began = time.monotonic()
        with self.qmp.listen("VSERPORT_CHANGE") as events:
            self.qmp("cont")
            self._answers(events, self._boot_timeout)
        self.boots.append(time.monotonic() - began)

