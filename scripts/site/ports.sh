# shellcheck shell=bash
# Free ports on the loopback addresses. Sourced by site.sh.

# The names of all ports of a site, as they stand in site.env.
# shellcheck disable=SC2034 # site.sh uses it
PORT_NAMES=(
    LDAP LDAPS LDAP2 LDAPS2
    {A,B}_{LEFT,RIGHT}_{IMAP,IMAPS,POP3,POP3S}
    {A,B}_{LEFT,RIGHT}_{IMAP,IMAPS,POP3,POP3S}_PROXIED
    BALANCER_{IMAP,IMAPS,IMAPS_ENDED,POP3,POP3S,POP3S_ENDED}
    FERRY_{IMAP,IMAPS,IMAP_CLEAR,POP3,POP3S,POP3_CLEAR,IMAPS_V6,POP3S_V6}
)

# choose_ports NAME…: sets each variable to another free port. The kernel chooses, and a process of the site's holds them
# all: bound but never listening, and shared (SO_REUSEADDR) only after the choice. A server that asks for one of them by
# number gets it, any number of times; whoever asks the kernel for a port, or connects from one, does not.
choose_ports() {
    local name log=$FOLDER/log/ports.log
    : >"$log"
    # shellcheck disable=SC2016 # it is Perl
    start_process ports perl -MSocket=:all -e '
        $| = 1;
        my @held;
        for (1 .. $ARGV[0]) {
            my ($socket, $any);
            if (socket($socket, AF_INET6, SOCK_STREAM, 0)) {
                setsockopt($socket, IPPROTO_IPV6, IPV6_V6ONLY, 0) or die "setsockopt: $!\n";
                $any = pack_sockaddr_in6(0, Socket::IN6ADDR_ANY);
            } else {
                socket($socket, AF_INET, SOCK_STREAM, 0) or die "socket: $!\n";
                $any = pack_sockaddr_in(0, INADDR_ANY);
            }
            bind($socket, $any) or die "bind: $!\n";
            setsockopt($socket, SOL_SOCKET, SO_REUSEADDR, 1) or die "setsockopt: $!\n";
            push @held, $socket;
        }
        print((unpack "x2n", getsockname($_))[0], "\n") for @held;
        sleep;
    ' $#
    wait_until ports "holds $# ports" has_lines "$log" $#
    for name in "$@"; do
        read -r "${name?}"
    done <"$log"
}

has_lines() { # has_lines FILE COUNT
    [ "$(wc -l <"$1")" -eq "$2" ]
}

# answers PORT: something accepts connections there.
answers() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# has_ipv6: this machine has ::1.
has_ipv6() {
    perl -MSocket=:all -e '
        socket(my $socket, AF_INET6, SOCK_STREAM, 0) or exit 1;
        exit !bind($socket, pack_sockaddr_in6(0, Socket::IN6ADDR_LOOPBACK));'
}
