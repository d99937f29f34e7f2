// The program `tsvmm`. It becomes Node: from a startup snapshot, a process image that has the program's modules loaded
// (scripts/bundle.ts makes it, for one build of Node), or else from the bundle's files. Start-up is part of boot time,
// so this is a static program of a few system calls.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace {

// The Node that the snapshot is of: its path and, since another one may have taken its place, how long its file is.
struct Node {
  std::string path;
  off_t size = 0;

  bool is_there() const {
    struct stat found {};
    return stat(path.c_str(), &found) == 0 && found.st_size == size;
  }
};

// Empty where this program's own file cannot be told, as without /proc.
std::string own_folder() {
  char path[PATH_MAX];
  const auto length = readlink("/proc/self/exe", path, sizeof path);
  if (length <= 0) return {};
  const std::string_view whole(path, static_cast<size_t>(length));
  return std::string(whole.substr(0, whole.rfind('/') + 1));
}

// Two lines: path, which may be seen from this program's folder, and length.
std::optional<Node> read_node(const std::string& folder) {
  const int fd = open((folder + "startup.node").c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return {};
  char text[PATH_MAX + 32];
  const auto length = read(fd, text, sizeof text - 1);
  close(fd);
  if (length <= 0) return {};
  text[length] = '\0';
  auto* end = strchr(text, '\n');
  if (end == nullptr) return {};
  const std::string path(text, end);
  const auto size = static_cast<off_t>(strtoll(end + 1, nullptr, 10));
  return Node{path.starts_with('/') ? path : folder + path, size};
}

// Versions and help need next to nothing of what a snapshot has.
bool asks_little(int argc, char** argv) {
  if (argc != 2) return false;
  const std::string_view argument = argv[1];
  return argument == "--version" || argument == "-V" || argument == "--help" || argument == "-h";
}

// Returns where the program cannot be had. Its argv[0] stays the name that this one was called by.
void become(const char* program, std::vector<const char*> words, int argc, char** argv) {
  words.insert(words.end(), argv + 1, argv + argc);
  words.push_back(nullptr);
  // SAFETY: execvp() does not write to its arguments.
  execvp(program, const_cast<char* const*>(words.data()));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 1) return 2;
  const auto folder = own_folder();
  const auto snapshot = folder + "startup.blob";
  const auto script = folder + "tsvmm.js";
  const auto node = read_node(folder);
  const bool has_node = node && node->is_there();
  if (has_node && !asks_little(argc, argv) && access(snapshot.c_str(), R_OK) == 0) {
    become(node->path.c_str(), {argv[0], "--snapshot-blob", snapshot.c_str(), "tsvmm"}, argc, argv);
  }
  if (has_node) become(node->path.c_str(), {argv[0], script.c_str()}, argc, argv);
  become("node", {argv[0], script.c_str()}, argc, argv);
  fprintf(stderr, "tsvmm: error: node cannot be run: %s\n", strerror(errno));
  return 1;
}
