target_sources(core PRIVATE memory/guest_memory.cc memory/mapping.cc)
