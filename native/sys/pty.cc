#include "sys/pty.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>

#include <array>
#include <climits>

namespace tsvmm {

Result<Pty> Pty::open() {
  Pty pty;
  pty.master.reset(posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
  if (!pty.master.is_open()) return last_failure("posix_openpt");
  if (grantpt(pty.master.get()) != 0) return last_failure("grantpt");
  if (unlockpt(pty.master.get()) != 0) return last_failure("unlockpt");
  std::array<char, PATH_MAX> path;
  if (const auto error = ptsname_r(pty.master.get(), path.data(), path.size()); error != 0) {
    return Failure{error, "ptsname_r"};
  }
  pty.path = path.data();
  pty.slave.reset(::open(path.data(), O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!pty.slave.is_open()) return last_failure("open");
  termios settings{};
  if (tcgetattr(pty.slave.get(), &settings) != 0) return last_failure("tcgetattr");
  cfmakeraw(&settings);
  if (tcsetattr(pty.slave.get(), TCSANOW, &settings) != 0) return last_failure("tcsetattr");
  return pty;
}

}  // namespace tsvmm
