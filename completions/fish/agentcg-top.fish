# fish completion of agentcg-top. tools/completions has made this file.
complete -c agentcg-top -f
complete -c agentcg-top -s d -l delay -x -d 'time between two measurements, 0.02 to 86400'
complete -c agentcg-top -s n -l count -x -d 'end after COUNT measurements'
complete -c agentcg-top -l tag -x -d 'only the agents with this tag'
complete -c agentcg-top -l parent -x -a '(__fish_complete_directories)' -d 'search only below this cgroup'
complete -c agentcg-top -l help -d 'show this'
complete -c agentcg-top -l version -d 'show the version'
