target_sources(core PRIVATE sys/event_fd.cc)
