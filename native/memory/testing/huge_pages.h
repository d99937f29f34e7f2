// For tests: huge pages, which a host keeps for those who ask for them beforehand
// (Documentation/admin-guide/mm/hugetlbpage.rst).
#pragma once

#include <fstream>
#include <string>

namespace tsvmm {

inline int huge_pages(const char* which) {
  std::ifstream info("/proc/meminfo");
  for (std::string word; info >> word;) {
    if (word == which && info >> word) return std::stoi(word);
  }
  return 0;
}

inline int free_huge_pages() { return huge_pages("HugePages_Free:"); }

// Has the host keep as many of its default size free where this process may ask for that, and gives them back.
class HugePageReserve {
 public:
  explicit HugePageReserve(int pages) : before_(huge_pages("HugePages_Total:")) {
    if (const int missing = pages - free_huge_pages(); missing > 0) keep(before_ + missing);
  }
  ~HugePageReserve() { keep(before_); }
  HugePageReserve(const HugePageReserve&) = delete;
  HugePageReserve& operator=(const HugePageReserve&) = delete;

 private:
  static void keep(int pages) { std::ofstream("/proc/sys/vm/nr_hugepages") << pages; }

  int before_;
};

}  // namespace tsvmm
