// For tests: a page fault handler as those for Firecracker are, which serves the image of fake_pages.h.
#pragma once

#include <gtest/gtest.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <climits>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "memory/testing/fake_pages.h"
#include "sys/unique_fd.h"

namespace tsvmm {

class PageFaultHandler {
 public:
  explicit PageFaultHandler(std::string path) : listener_(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof(address.sun_path) - 1);
    EXPECT_EQ(bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    EXPECT_EQ(listen(listener_.get(), 1), 0);
  }

  // False where what came is not what the protocol says.
  bool accept() {
    socket_.reset(::accept(listener_.get(), nullptr, nullptr));
    std::array<char, 4096> text{};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
    iovec bytes{text.data(), text.size() - 1};
    msghdr message{};
    message.msg_iov = &bytes;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const auto* header = recvmsg(socket_.get(), &message, 0) > 0 ? CMSG_FIRSTHDR(&message) : nullptr;
    if (header == nullptr || header->cmsg_type != SCM_RIGHTS) return false;
    int descriptor = -1;
    std::memcpy(&descriptor, CMSG_DATA(header), sizeof(descriptor));
    userfault_.reset(descriptor);
    return parse(text.data());
  }
  void hang_up() { socket_.reset(); }

  // Answers faults until that one comes.
  void serve_until(uint64_t last_page) {
    for (;;) {
      pollfd ready{userfault_.get(), POLLIN, 0};
      poll(&ready, 1, -1);
      uffd_msg message{};
      if (read(userfault_.get(), &message, sizeof(message)) != static_cast<ssize_t>(sizeof(message))) continue;
      if (message.event != UFFD_EVENT_PAGEFAULT) continue;
      const auto address = message.arg.pagefault.address;
      for (const auto& [base, size, offset] : mappings_) {
        if (address < base || address - base >= size) continue;
        const auto page = (address - base + offset) / kImagePageSize;
        if (page == last_page) return;
        auto words = expected_page(page);
        uffdio_copy copy{address, reinterpret_cast<uintptr_t>(words.data()), sizeof(words), 0, 0};
        ioctl(userfault_.get(), UFFDIO_COPY, &copy);
      }
    }
  }

 private:
  struct Mapping {
    uint64_t base, size, offset;
  };

  bool parse(const char* text) {
    for (; *text == '[' || *text == ','; text = std::strchr(text, '}') + 1) {
      Mapping mapping{};
      const int count = std::sscanf(text + 1, R"({"base_host_virt_addr":%lu,"size":%lu,"offset":%lu,)", &mapping.base,
                                    &mapping.size, &mapping.offset);
      if (count != 3) return false;
      mappings_.push_back(mapping);
    }
    return std::strcmp(text, "]") == 0;
  }

  UniqueFd listener_;
  UniqueFd socket_;
  UniqueFd userfault_;
  std::vector<Mapping> mappings_;
};

// Runs `work` in a process of its own, killed at the latest when this goes.
class Child {
 public:
  template <typename Work>
  explicit Child(Work work) : process_(fork()) {
    if (process_ != 0) return;
    work();
    _exit(0);
  }
  ~Child() {
    kill(process_, SIGKILL);
    waitpid(process_, nullptr, 0);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

 private:
  pid_t process_;
};

}  // namespace tsvmm
