# fish completion of agentcg-reap. tools/completions has made this file.
complete -c agentcg-reap -f
complete -c agentcg-reap -l tag -x -d 'only the agents with this tag, and those that were only half made'
complete -c agentcg-reap -l list -d 'list all agents, or those with the tag'
complete -c agentcg-reap -l json -d 'with --list'
complete -c agentcg-reap -l parent -x -a '(__fish_complete_directories)' -d 'search only below this cgroup'
complete -c agentcg-reap -l timeout -x -d 'how long to wait for the processes to die'
complete -c agentcg-reap -l help -d 'show this'
complete -c agentcg-reap -l version -d 'show the version'
