// For tests: QEMU's own tool, which makes images and judges them.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace tsvmm {

// A folder beside the test program, gone in the end.
class Folder {
 public:
  Folder() {
    path_ = std::filesystem::read_symlink("/proc/self/exe").parent_path() / "images-XXXXXX";
    if (mkdtemp(path_.data()) == nullptr) std::abort();
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  std::string path(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

struct Ended {
  int code;
  std::string output;
};

inline Ended run_program(const std::string& command) {
  FILE* pipe = popen((command + " 2>&1").c_str(), "r");
  if (pipe == nullptr) return {-1, "popen"};
  std::string output;
  for (int byte = std::fgetc(pipe); byte != EOF; byte = std::fgetc(pipe)) output.push_back(static_cast<char>(byte));
  const int status = pclose(pipe);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, output};
}

inline Ended qemu_img(const std::string& arguments) { return run_program("qemu-img " + arguments); }

// Ends the test where it fails.
inline void make_with_qemu_img(const std::string& arguments) {
  const auto [code, output] = qemu_img(arguments);
  ASSERT_EQ(code, 0) << arguments << "\n" << output;
}

enum class Leaks : uint8_t { kNone, kAllowed };

// What QEMU finds wrong with it; empty where it is sound.
inline std::string damage_of(const std::string& path, Leaks leaks = Leaks::kNone, const std::string& format = "qcow2") {
  // 3: there are leaks and nothing worse.
  const auto [code, output] = qemu_img("check -q -U -f " + format + " " + path);
  return code == 0 || (code == 3 && leaks == Leaks::kAllowed) ? "" : std::to_string(code) + ": " + output;
}

inline std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline void write_file(const std::string& path, const std::string& bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

}  // namespace tsvmm
