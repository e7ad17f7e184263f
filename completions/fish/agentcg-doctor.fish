# fish completion of agentcg-doctor. tools/completions has made this file.
complete -c agentcg-doctor -f
complete -c agentcg-doctor -l json -d 'print one JSON object, for programs'
complete -c agentcg-doctor -l help -d 'show this'
complete -c agentcg-doctor -l version -d 'show the version'
